"""Interruption at any token, any number of times, under any number of slots, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from policies.rollout import Finish
from policies.text.engine import Continuation, Engine, Request

PROMPTS = [(5, 9, 3, 7), (8, 8, 1), (2, 4, 6, 8, 10, 12)]
END = 1


@cache
def engine(slots: int) -> Engine:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
        return Engine(LlamaForCausalLM(config).eval(), {END}, slots=slots)


def requests(caps: list[int]) -> list[Request]:
    return [Request(PROMPTS[i % 3], key=i * 7919, max_new_tokens=cap) for i, cap in enumerate(caps)]


@settings(max_examples=40, deadline=None)
@given(
    caps=st.lists(st.integers(1, 24), min_size=1, max_size=9),
    cuts=st.lists(st.integers(1, 9), max_size=5),
    slots=st.integers(1, 6),
)
def test_interrupted_and_resumed_equals_uninterrupted(caps: list[int], cuts: list[int], slots: int) -> None:
    expected = engine(16).run(requests(caps))
    asked = requests(caps)
    ids: list[tuple[int, ...]] = [()] * len(asked)
    logprobs: list[tuple[float, ...]] = [()] * len(asked)
    finish = [Finish.UNFINISHED] * len(asked)

    def carry_on(stop_after: int | None) -> None:
        going = [i for i, state in enumerate(finish) if state is Finish.UNFINISHED]
        polls = 0

        def stop(finished: Sequence[int]) -> bool:
            nonlocal polls
            polls += 1
            return polls == stop_after

        found = engine(slots).run([replace(asked[i], begun_ids=ids[i]) for i in going], stop=stop)
        for i, continuation in zip(going, found, strict=True):
            ids[i] += continuation.token_ids
            logprobs[i] += continuation.logprobs
            finish[i] = continuation.finish

    for cut in cuts:
        carry_on(cut)
    carry_on(None)
    for whole, *parts in zip(expected, ids, logprobs, finish, strict=True):
        assert Continuation(whole.token_ids, (), whole.finish) == Continuation(parts[0], (), parts[2])
        assert all(abs(a - b) < 1e-4 for a, b in zip(whole.logprobs, parts[1], strict=True))
