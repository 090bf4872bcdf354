"""Falcon's layers compute their own attention: through the engine's views all the same, or refused in words."""

from __future__ import annotations

import logging

import pytest
import torch
from test_agreement import policy_of, update
from tiny_text import tiny_tokenizer
from transformers import FalconConfig, FalconForCausalLM

from node.bench.families.measure import generate
from policies.text.engine import Engine, Request, Sampling

VARIANTS = {
    "one pair of keys and values": {"multi_query": True},
    "a pair a head": {"multi_query": False},
    "groups of heads": {"new_decoder_architecture": True, "num_kv_heads": 2},
}


def falcon(**changes: object) -> FalconForCausalLM:
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "initializer_range": 0.15}
    tokens = {"vocab_size": len(tiny_tokenizer()), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return FalconForCausalLM(FalconConfig(**sizes, **tokens, **changes)).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_sampled_by_the_engine_and_stays_exact(variant: str) -> None:
    policy = policy_of(falcon(**VARIANTS[variant]))
    assert policy._engine.path == "engine" and policy._engine.refusal is None
    assert max(update(policy, seed).largest for seed in range(3)) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_likeliest_tokens_are_those_of_generate_before_and_after(
    variant: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = falcon(**VARIANTS[variant])
    requests = [Request((9, 8, 7, 6, 5), 0, 12), Request((5, 6, 7, 8, 9), 1, 12)]
    expected = generate(model, requests, sample=False)
    with caplog.at_level(logging.WARNING):
        found = Engine(model, (), slots=2).run(requests, Sampling(temperature=0.0))
    assert [list(one.token_ids) for one in found] == expected
    assert caplog.text == "", "the library was asked for what it says it cannot do"
    assert generate(model, requests, sample=False) == expected, "its own attention is not back"
    assert model.config._attn_implementation == "sdpa"


def test_attention_that_falls_with_distance_is_left_to_generate() -> None:
    engine = Engine(falcon(alibi=True), (), slots=2)
    assert engine.path == "generate" and "alibi" in str(engine.refusal)
