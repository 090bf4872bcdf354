"""The memory plan's arithmetic, on the shape of a 7B model and on counts that were made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import LlamaConfig, Qwen2Config

from policies.policy import PolicyError
from policies.text.memory.estimate import Estimate, Load, estimate, micro_batch_of
from policies.text.memory.fit import Choice, fit_of
from policies.text.memory.shape import Shape, shape_of
from policies.text.settings import LoraSettings, ModelSettings, TextSettings

GB = 1_000_000_000
LOAD = Load(prompts=8, group=8, prompt_tokens=256, new_tokens=512)
QLORA = ModelSettings(path="7b", dtype="bfloat16", four_bit=True, lora=LoraSettings(rank=16))
# Counted by `shape_of` on Qwen2.5-7B's configuration under LoRA of rank 16 on all linear layers.
SEVEN = Shape(
    numbers=7_615_616_512,
    packable=6_525_288_448,
    itemsize=2,
    trained_numbers=40_370_176,
    trained_itemsize=4,
    adapter_bytes=4 * 40_370_176,
    kept=7_000_000.0,
    kept_once=0.0,
    layers=28,
    hidden=3584,
    widest=18_944,
    heads=28,
    vocabulary=152_064,
    states=2 * 28 * 4 * 128,
    trains_head=False,
    tied=False,
    guessed=False,
)


def settled(**trainer: object) -> TextSettings:
    return TextSettings.model_validate({"trainer": {"bf16": True, **trainer}}).settled(rounds=100)


def planned(model: ModelSettings, shape: Shape = SEVEN, free: int = 24 * GB, **trainer: object) -> Estimate:
    return estimate(shape, model, settled(**trainer), LOAD, free, cuda=True)


def test_seven_billion_in_four_bits_fit_into_24_gb_with_checkpointing_and_say_where_it_goes() -> None:
    found = planned(QLORA, token_budget=2048, gradient_checkpointing=True)
    # 6.5 G packed at 0.516 bytes, 1.09 G of embedding and head at two, the adapter at four.
    assert found.weights == pytest.approx(3.37 * GB + 2.18 * GB + 0.16 * GB, rel=0.01)
    assert found.copy == 0  # sampling reads the packed weights
    assert found.gradients == 4 * SEVEN.trained_numbers
    assert found.optimiser == 8 * SEVEN.trained_numbers
    a_token = SEVEN.states * 2
    prompts = min(8, found.slots) * 256
    assert found.keys_and_values == (found.slots * 512 + prompts) * a_token
    assert found.peak == found.resident + max(found.update, found.sampling)
    assert found.peak < 24 * GB


def test_all_weights_of_seven_billion_do_not_fit_and_the_smallest_change_is_named() -> None:
    shapes = {
        (False, "bfloat16"): replace(
            SEVEN, trained_numbers=SEVEN.numbers, trained_itemsize=2, adapter_bytes=0, trains_head=True
        ),
        (True, "bfloat16"): SEVEN,
    }
    full = ModelSettings(path="7b", dtype="bfloat16")
    choice = Choice(full, settled(token_budget=2048), LOAD)

    def shaper(model: ModelSettings) -> Shape:
        return shapes[model.lora is not None, model.dtype]

    fit = fit_of(choice, 24 * GB, shaper, cuda=True)
    assert not fit.fits and fit.remedy is not None
    assert "lora" in fit.remedy
    assert fit_of(choice, 200 * GB, shaper, cuda=True).fits
    assert fit_of(choice, 1 * GB, shaper, cuda=True).remedy is None


def test_a_smaller_micro_batch_is_named_before_anything_that_changes_what_is_learnt() -> None:
    choice = Choice(QLORA, settled(token_budget=16_384), LOAD)
    fit = fit_of(choice, 24 * GB, lambda _: SEVEN, cuda=True)
    assert fit.remedy == "policy.trainer.token_budget = 768"


def test_the_working_copy_leaves_room_for_what_the_update_will_need() -> None:
    lora = ModelSettings(path="7b", dtype="bfloat16", lora=LoraSettings())
    assert planned(lora, free=80 * GB, token_budget=2048).copy == 2 * SEVEN.numbers
    assert planned(lora, free=34 * GB, token_budget=2048).copy == 0


def test_a_group_that_shares_its_prompt_is_a_micro_batch_of_its_own() -> None:
    short = Load(prompts=4, group=8, prompt_tokens=64, new_tokens=32)
    shared = micro_batch_of(SEVEN, settled(), short, cuda=False)
    assert (shared.tokens, shared.scored, shared.read) == (64 + 8 * 32, 8 * 32, 8 * 64)
    apart = micro_batch_of(SEVEN, settled(gradient_checkpointing=True), short, cuda=False)
    assert (apart.tokens, apart.scored, apart.read) == (32 * 96, 32 * 32, 0)


def test_a_shape_is_counted_without_a_weight_in_memory() -> None:
    config = LlamaConfig(
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        vocab_size=50_000,
        tie_word_embeddings=True,
    )
    shape = shape_of(config, ModelSettings(path="x"))
    layer = 2 * 1024 * 1024 + 2 * 1024 * 256 + 3 * 1024 * 2048 + 2 * 1024
    assert shape.numbers == shape.trained_numbers == 50_000 * 1024 + 2 * layer + 1024
    assert shape.states == 2 * 2 * 2 * 128
    assert shape.tied and shape.trains_head and not shape.guessed
    # Of a layer at least inputs, queries, gate, up and their product; at most three times that.
    least = 2 * 4 * (4 * 1024 + 3 * 2048)
    assert least < shape.kept < 3 * least


def test_a_shape_counts_an_adapter_in_float32_beside_frozen_weights() -> None:
    config = Qwen2Config(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    shape = shape_of(config, ModelSettings(path="x", dtype="bfloat16", lora=LoraSettings(rank=4)))
    ends = 2 * (256 + 256) + 2 * (256 + 128) + 3 * (256 + 512)
    assert shape.trained_numbers == 2 * 4 * ends
    assert shape.adapter_bytes == 4 * shape.trained_numbers
    assert not shape.trains_head


def test_a_configuration_with_a_size_of_nothing_is_refused_in_words() -> None:
    with pytest.raises(
        PolicyError, match=r"no model can be made of its configuration: 0\.0 cannot be raised"
    ):
        shape_of(Qwen2Config(hidden_size=0, vocab_size=8), ModelSettings(path="none"))
