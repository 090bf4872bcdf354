"""Padded steps of few shapes, as CUDA graphs need them; here without a graph, which replays the same code."""

from __future__ import annotations

import pytest
from tiny_models import SHARED, asked, made

from policies.text.engine import Engine
from policies.text.engine import engine as engine_module
from policies.text.engine.batch import Batch
from policies.text.engine.cache import Table
from policies.text.engine.cuda_graphs import BucketedSteps, Replay, bucket
from policies.text.engine.decoder import Decoder
from policies.text.engine.memory_plan import Plan


@pytest.mark.parametrize("name", SHARED)
def test_padded_steps_sample_what_exact_ones_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(copies=4, most=60)
    expected = Engine(made(name), (), slots=7).run(requests)
    captures = 0

    def count(run: Replay) -> Replay:
        nonlocal captures
        captures += 1
        run()  # as the warm-up of a capture does
        return run

    def install(self: Engine, batch: Batch, plan: Plan, slots: int) -> None:
        tables = Table(bucket(plan.prompts), plan.prompt_width), Table(bucket(slots), plan.width)
        decoder = Decoder(self._model, *tables)
        batch.install(decoder, BucketedSteps(decoder, count), slots)

    monkeypatch.setattr(engine_module.Engine, "_install", install)
    engine = Engine(made(name), (), slots=7)
    found = engine.run(requests)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert captures < int(engine.figures["decode_steps"]) / 5


@pytest.mark.parametrize(("count", "padded"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16)])
def test_buckets_are_powers_of_two(count: int, padded: int) -> None:
    assert bucket(count) == padded


@pytest.mark.gpu
def test_on_cuda_graphs_sample_what_the_cpu_does() -> None:
    requests = asked(copies=4, most=40)
    expected = Engine(made("smollm2"), (), slots=7).run(requests)
    found = Engine(made("smollm2").cuda(), (), slots=7).run(requests)
    same = sum(a.token_ids == b.token_ids for a, b in zip(found, expected, strict=True))
    assert same >= len(requests) - 1  # float32 products on CUDA round otherwise
