"""Sampling: what is drawn, and what is remembered of it."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from tiny_text import tiny_model, tiny_tokenizer
from transformers import GenerationConfig, Qwen2ForCausalLM

from policies.text.encoding import Encoding
from policies.text.generation import Completion, Sampler
from policies.text.randomness import seeded
from policies.text.settings import GenerationSettings

CPU = torch.device("cpu")
TOKENIZER = tiny_tokenizer()
ENCODING = Encoding(TOKENIZER, None, 64)
PROMPTS = [ENCODING.prompt(text) for text in ("1+2=", "sort 528314", "m")]


def sample(
    model: Qwen2ForCausalLM, settings: GenerationSettings, copies: int = 4, seed: int = 3
) -> list[Completion]:
    sampler = Sampler(model, TOKENIZER.pad_token_id, {TOKENIZER.eos_token_id}, settings)
    with seeded(seed, CPU):
        return sampler.sample([prompt for prompt in PROMPTS for _ in range(copies)])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("batch_rows", [64, 5])
def test_behaviour_logprobs_equal_a_teacher_forced_pass(temperature: float, batch_rows: int) -> None:
    model = tiny_model()
    settings = GenerationSettings(max_new_tokens=20, temperature=temperature, batch_rows=batch_rows)
    completions = sample(model, settings)
    assert len({len(completion.token_ids) for completion in completions}) > 3
    for index, completion in enumerate(completions):
        prompt = PROMPTS[index // 4]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *completion.token_ids]])).logits[0]
        expected = torch.log_softmax(logits[len(prompt) - 1 : -1] / temperature, -1)
        chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        assert completion.logprobs == pytest.approx(chosen.tolist(), abs=1e-4)


def test_the_end_token_is_kept_when_sampled_and_absent_when_cut() -> None:
    completions = sample(tiny_model(), GenerationSettings(max_new_tokens=20), copies=16)
    assert {completion.stopped for completion in completions} == {True, False}
    for completion in completions:
        ends = completion.token_ids.count(TOKENIZER.eos_token_id)
        assert len(completion.logprobs) == len(completion.token_ids)
        if completion.stopped:
            assert ends == 1
            assert completion.token_ids[-1] == TOKENIZER.eos_token_id
        else:
            assert ends == 0
            assert len(completion.token_ids) == 20


def test_the_models_own_sampling_defaults_are_set_aside_and_put_back() -> None:
    """Qwen2.5 ships top-k 20 and a repetition penalty: neither may touch what is drawn."""
    plain, opinionated = tiny_model(), tiny_model()
    shipped = GenerationConfig(top_k=1, repetition_penalty=5.0, suppress_tokens=list(range(5, 30)))
    opinionated.generation_config = shipped
    settings = GenerationSettings(max_new_tokens=12)
    assert sample(opinionated, settings) == sample(plain, settings)
    assert opinionated.generation_config is shipped


def test_first_tokens_follow_the_tempered_distribution() -> None:
    model = tiny_model()
    settings = GenerationSettings(max_new_tokens=1, temperature=0.5, batch_rows=2048)
    sampler = Sampler(model, TOKENIZER.pad_token_id, {TOKENIZER.eos_token_id}, settings)
    with seeded(0, CPU):
        drawn = Counter(c.token_ids[0] for c in sampler.sample([PROMPTS[0]] * 4096))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    for token, probability in enumerate(torch.softmax(logits / 0.5, -1).tolist()):
        spread = math.sqrt(probability * (1 - probability) / 4096)
        assert drawn[token] / 4096 == pytest.approx(probability, abs=5 * spread + 1 / 4096)


def test_equal_seeds_give_equal_completions_and_global_generators_are_left_alone() -> None:
    settings = GenerationSettings(max_new_tokens=12)
    model = tiny_model()
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = sample(model, settings, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert sample(model, settings, seed=5) == first
    assert sample(model, settings, seed=6) != first
