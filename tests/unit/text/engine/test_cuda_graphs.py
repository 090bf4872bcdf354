"""Padded steps of few shapes, as CUDA graphs need them; here without a graph, which replays the same code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import SHARED, asked, made

from policies.text.engine import Engine
from policies.text.engine import engine as engine_module
from policies.text.engine.batch import AHEAD, Batch
from policies.text.engine.cache import Table
from policies.text.engine.cuda_graphs import BucketedSteps, Replay, bucket, row_bucket
from policies.text.engine.decoder import Decoder
from policies.text.engine.memory_plan import Plan


def padded_steps(capture: Callable[[Replay], Replay], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines step as on a GPU, by `capture` in place of a graph."""

    def install(self: Engine, batch: Batch, plan: Plan, slots: int) -> None:
        tables = Table(bucket(plan.prompts), plan.prompt_width), Table(row_bucket(slots), plan.width)
        decoder = Decoder(self._model, *tables)
        batch.install(decoder, BucketedSteps(decoder, capture), slots, AHEAD)

    monkeypatch.setattr(engine_module.Engine, "_install", install)


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

    padded_steps(count, monkeypatch)
    engine = Engine(made(name), (), slots=7)
    found = engine.run(requests)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert captures < int(engine.figures["decode_steps"]) / 5


@pytest.mark.parametrize(("count", "padded"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16)])
def test_buckets_are_powers_of_two(count: int, padded: int) -> None:
    assert bucket(count) == padded


@pytest.mark.parametrize(("rows", "padded"), [(1, 1), (33, 64), (64, 64), (65, 96), (97, 128), (130, 160)])
def test_many_rows_are_padded_by_a_few(rows: int, padded: int) -> None:
    assert row_bucket(rows) == padded


@pytest.mark.parametrize("fault", ["operation not permitted when stream is capturing", "CUDA out of memory"])
def test_a_step_that_cannot_be_captured_is_run_as_it_is(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a lack of memory goes on to the engine, which then tries fewer rows at once."""
    requests = asked(copies=4, most=60)
    expected = Engine(made("smollm2"), (), slots=8).run(requests)
    shortage = "memory" in fault
    tries = 0

    def refuse(run: Replay) -> Replay:
        nonlocal tries
        tries += 1
        if shortage and tries == 1:
            raise torch.OutOfMemoryError(fault)
        if not shortage:
            raise RuntimeError(fault)
        return run

    padded_steps(refuse, monkeypatch)
    found = Engine(made("smollm2"), (), slots=8).run(requests)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    told = [record.message for record in caplog.records if "not captured as CUDA graphs" in record.message]
    assert (tries, len(told)) == (1, 1) if not shortage else (tries > 1 and not told)


@pytest.mark.gpu
def test_graphs_of_many_rounds_take_their_memory_from_one_pool() -> None:
    engine = Engine(made("smollm2").cuda(), (), slots=7)
    held = []
    for _ in range(4):
        engine.run(asked(copies=4, most=40))
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_reserved())
    assert held[-1] <= held[1]


@pytest.mark.gpu
def test_on_cuda_graphs_sample_what_the_cpu_does() -> None:
    requests = asked(copies=4, most=40)
    expected = Engine(made("smollm2"), (), slots=7).run(requests)
    found = Engine(made("smollm2").cuda(), (), slots=7).run(requests)
    same = sum(a.token_ids == b.token_ids for a, b in zip(found, expected, strict=True))
    assert same >= len(requests) - 1  # float32 products on CUDA round otherwise
