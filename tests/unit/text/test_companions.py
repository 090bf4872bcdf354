"""A text policy's saved weights are a folder that Hugging Face tools read: tokenizer and generation config included."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_text import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from policies.text.chat.turn_ends import TurnEnds
from policies.text.loading.companions import generation_of
from policies.text.model import attach_lora
from policies.text.policy import WEIGHTS_FOLDER, TextPolicy
from policies.text.settings import GenerationSettings, LoraSettings, TextSettings

SETTINGS = TextSettings(generation=GenerationSettings(max_new_tokens=16))


@pytest.mark.parametrize("adapter", [False, True])
def test_a_save_holds_tokenizer_template_and_generation_config(adapter: bool, tmp_path: Path) -> None:
    model = attach_lora(tiny_model(), LoraSettings(rank=2), seed=0) if adapter else tiny_model()
    policy = TextPolicy(model, tiny_tokenizer(), SETTINGS)
    policy.save(tmp_path)
    weights = tmp_path / WEIGHTS_FOLDER
    read = AutoTokenizer.from_pretrained(weights)
    turn = [{"role": "user", "content": "1+2="}]
    assert read.apply_chat_template(turn, add_generation_prompt=True, tokenize=False) == (
        tiny_tokenizer().apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    )
    generation = GenerationConfig.from_pretrained(weights)
    assert (generation.eos_token_id, generation.pad_token_id) == (read.eos_token_id, read.pad_token_id)
    if not adapter:
        assert (
            AutoModelForCausalLM.from_pretrained(weights).generation_config.eos_token_id == read.eos_token_id
        )
    policy.load(tmp_path)


def test_an_answer_ends_where_the_policy_ends_it() -> None:
    """`generate` reads no chat template: the end of a turn that only the template writes has to be among its ends."""
    model = tiny_model()
    ends = TurnEnds(taught=4, stops=frozenset({1, 3, 4}))
    assert generation_of(model, tiny_tokenizer(), ends).eos_token_id == [4, 1, 3]
    assert model.generation_config.eos_token_id == 1, "the model in training is left as it was"


def test_a_published_generation_config_that_contradicts_itself_is_kept_as_it_is(tmp_path: Path) -> None:
    """Many publish a temperature without `do_sample`; transformers refuses to write such a config once it changed."""
    model = attach_lora(tiny_model(), LoraSettings(rank=2), seed=0)
    model.get_base_model().generation_config = GenerationConfig(temperature=0.7, eos_token_id=[1, 3])
    TextPolicy(model, tiny_tokenizer(), SETTINGS).save(tmp_path)
    kept = GenerationConfig.from_pretrained(tmp_path / WEIGHTS_FOLDER)
    assert (kept.temperature, kept.do_sample, kept.eos_token_id) == (0.7, None, [1, 3])
