"""Models that load and do not fit are refused with what to change, before anything is sampled or trained."""

from __future__ import annotations

import pytest
import torch
from tiny_families import FAMILIES, byte_level, gpt2_kind, model_of, tokenizer_of
from tiny_text import problem, tiny_model, tiny_tokenizer
from transformers import BertConfig, BertLMHeadModel, PreTrainedModel

from policies.policy import PolicyError, sample_groups
from policies.rollout import Finish, Group, Rollout, Segment, TrainGroup
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, TextSettings


def build(name: str, cap: int = 16, external: int | None = None, **config: object) -> TextPolicy:
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=cap, max_external_tokens=external))
    return TextPolicy(model_of(name, **config), FAMILIES[name].tokenizer(), settings)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "phi3", "opt", "gpt_neox", "olmo2"])
def test_a_context_shorter_than_prompt_and_cap_is_refused_with_the_number_to_set(name: str) -> None:
    key = "n_positions" if name == "gpt2" else "max_position_embeddings"
    with pytest.raises(
        PolicyError, match=r"takes 64 tokens.*set generation\.max_new_tokens to at most (\d+)"
    ) as raised:
        build(name, cap=64, **{key: 64})
    room = int(str(raised.value).partition("at most ")[2].partition(",")[0])
    policy = build(name, cap=room, **{key: 64})
    assert sample_groups(policy, [problem("1 + 1 = ?")], 2, seed=0)[0].rollouts, "the number is the right one"
    with pytest.raises(PolicyError, match="takes 64 tokens"):
        build(name, cap=room + 1, **{key: 64})


def test_models_without_a_fixed_context_take_any() -> None:
    assert build("falcon", cap=400)._context is None
    assert build("bloom", cap=400)._context is None


def test_a_prompt_too_long_for_the_context_is_refused_in_words() -> None:
    policy = build("gpt2", cap=64, n_positions=128)
    policy.check_prompts([problem("1 + 2 = ")])
    for refused in (policy.check_prompts, lambda problems: sample_groups(policy, problems, 2, seed=0)):
        with pytest.raises(PolicyError, match="or make the prompts shorter"):
            refused([problem("1 + 2 = " * 60)])


def test_peers_rollouts_that_do_not_fit_into_the_context_are_passed_over() -> None:
    policy = build("gpt2", cap=16, external=100, n_positions=128)
    long, short = policy.encode("1\n" * 50, Finish.LENGTH), policy.encode("1", Finish.STOP)
    assert len(long) > 64
    rollouts = tuple(Rollout("-", (Segment(-1, ids),), Finish.STOP) for ids in (long, short, short))
    group = Group(problem("1 2 3 4 " * 8), rollouts, "peer")
    report = policy.update([TrainGroup(group, (1.0, -1.0, 1.0))])
    assert report is not None and report.rollouts == 2


def test_an_external_cap_beyond_the_context_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"set generation\.max_external_tokens to at most"):
        build("gpt2", external=1000)


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(PolicyError, match="64 token embeddings: take the tokenizer that belongs to it"):
        build("gpt2", vocab_size=64)


def test_tokens_added_without_rows_are_refused_only_where_they_are_needed() -> None:
    tokenizer = byte_level(["<|endoftext|>"], eos_token="<|endoftext|>")
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=8))
    policy = TextPolicy(model_of("gpt2", vocab_size=rows), tokenizer, settings)
    assert policy._trainer._pad_id < rows
    tokenizer.add_special_tokens({"eos_token": "[END]"})
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '[END]' }}{% endfor %}{{ '?' }}"
    with pytest.raises(PolicyError, match=r"'\[END\]' with id"):
        TextPolicy(model_of("gpt2", vocab_size=rows), tokenizer, settings)


def test_a_tokenizer_without_padding_and_end_gets_both() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    policy = TextPolicy(
        tiny_model(), tokenizer, TextSettings(generation=GenerationSettings(max_new_tokens=8))
    )
    assert len(sample_groups(policy, [problem("1+2=")], 2, seed=0)[0].rollouts) == 2


def test_a_model_with_nothing_to_train_is_refused() -> None:
    model = tiny_model().requires_grad_(False)
    with pytest.raises(PolicyError, match="nothing to train"):
        TextPolicy(model, tiny_tokenizer(), TextSettings())


def test_an_encoder_is_no_causal_language_model() -> None:
    config = BertConfig(
        vocab_size=len(tokenizer_of("gpt2")),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.5,
    )
    with pytest.raises(PolicyError, match="lets a token see those behind it"):
        TextPolicy(BertLMHeadModel(config), gpt2_kind(), TextSettings())


def test_weights_that_are_not_finite_are_refused() -> None:
    model: PreTrainedModel = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[7:].fill_(float("nan"))
    with pytest.raises(PolicyError, match="not finite"):
        TextPolicy(model, tiny_tokenizer(), TextSettings())


@pytest.mark.parametrize("base", [0.0, -1.0])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_positions_that_are_no_numbers_are_refused(name: str, base: float) -> None:
    kinds = model_of(name).config.rope_parameters
    rope = {"rope_type": "default", "rope_theta": base}
    odd = dict.fromkeys(kinds, rope) if "full_attention" in kinds else rope
    with pytest.raises(PolicyError, match=r"positions that are not finite.*rope_theta"):
        build(name, rope_parameters=odd)


def test_what_a_library_raises_while_a_policy_is_made_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("some\nlibrary")

    caplog.set_level("INFO")
    for part, what in (("GroupTrainer", "cannot be trained"), ("Engine", "cannot be sampled from")):
        with monkeypatch.context() as patched, pytest.raises(PolicyError, match=what) as raised:
            patched.setattr(f"policies.text.policy.{part}", broken)
            TextPolicy(tiny_model(), tiny_tokenizer(), TextSettings())
        assert "\n" not in str(raised.value)
        assert "KeyError" in caplog.text, "the trace is in the log"
