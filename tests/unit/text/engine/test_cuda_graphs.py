"""Padded steps of few shapes, as CUDA graphs need them; here without a graph, which replays the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from tiny_models import SHARED, asked, made

from policies.text.engine import Engine, weights
from policies.text.engine import engine as engine_module
from policies.text.engine import kept_steps as kept_module
from policies.text.engine.buckets import bucket, row_bucket
from policies.text.engine.cuda_graphs import CudaGraphs, Replay
from policies.text.engine.decoder import Decoder
from policies.text.engine.kept_steps import KeptSteps
from policies.text.engine.weights import Arithmetic


def padded_steps(capture: Callable[[Replay], Replay], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines step as on a GPU, by `capture` in place of a graph."""
    captures = capture if isinstance(capture, Captures) else Captures(capture)
    monkeypatch.setattr(
        engine_module, "kept_steps", lambda model, *, fused: KeptSteps(model, lambda: captures, fused=fused)
    )


class Captures:
    """Counts the captures of `capture`, which by default makes no graph of a pass."""

    def __init__(self, capture: Callable[[Replay], Replay] = lambda run: run) -> None:
        self.count = 0
        self.bytes = 0
        self._capture = capture

    def __call__(self, run: Replay) -> Replay:
        self.count += 1
        run()  # as the warm-up of a capture does
        return self._capture(run)


@pytest.mark.parametrize("name", SHARED)
def test_padded_steps_sample_what_exact_ones_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(copies=4, most=60)
    expected = Engine(made(name), (), slots=7).run(requests)
    captures = Captures()
    padded_steps(captures, monkeypatch)
    engine = Engine(made(name), (), slots=7)
    found = engine.run(requests)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert captures.count < int(engine.figures["decode_steps"]) / 5


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


GRAPHS = [
    pytest.param("cpu", lambda run: run, id="cpu"),
    pytest.param("cuda", lambda run: CudaGraphs()(run), id="cuda", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize(("device", "capture"), GRAPHS)
def test_graphs_are_kept_over_updates_and_sample_by_the_new_weights(
    device: str, capture: Callable[[Replay], Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    captures, model = Captures(capture), made("smollm2").to(device)
    padded_steps(captures, monkeypatch)
    engine = Engine(model, (), slots=7)
    engine.run(asked(copies=4, most=40))
    first = captures.count
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    engine.refresh()
    found = engine.run(asked(copies=4, most=40))
    assert 0 < first == captures.count
    afresh = Engine(model, (), slots=7).run(asked(copies=4, most=40))
    assert [one.token_ids for one in found] == [one.token_ids for one in afresh]
    assert captures.count > first, "another engine's graphs are its own"


@pytest.mark.parametrize("change", ["longer", "more", "moved", "much", "cast"])
def test_graphs_that_no_longer_fit_are_made_anew(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer or more rollouts, or as weights lie elsewhere, tables took too much to stay, casts went."""
    captures = Captures()
    padded_steps(captures, monkeypatch)
    if change == "much":
        monkeypatch.setattr(kept_module, "KEPT_SHARE", 0.0)
    monkeypatch.setattr(weights, "fits_copy", lambda *_: change != "cast")
    arithmetic: Arithmetic = "bfloat16" if change == "cast" else "float32"
    engine = Engine(made("smollm2"), (), slots=40, arithmetic=arithmetic)
    engine.run(asked(copies=1, most=30))
    first = captures.count
    assert engine._kept is not None and (engine._kept.bytes == 0) is (change in ("much", "cast"))
    if change == "moved":
        for parameter in engine._model.parameters():
            parameter.data = parameter.data.clone()
    engine.run(asked(copies=4 if change == "more" else 1, most=60 if change == "longer" else 30))
    assert captures.count > first


class FakeCuda:
    """torch.cuda without a GPU: notes which pools captures go to, and takes memory for each."""

    CAPTURE_BYTES = 1000

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: str | None = None) -> None:
        self.pools = 0
        self.captured_into: list[int] = []
        self.current = "main"
        self._fault = fault
        for name in ("graph_pool_handle", "graph", "current_stream", "set_stream", "mem_get_info"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Mock())
        monkeypatch.setattr(torch.cuda, "Stream", Mock)
        monkeypatch.setattr(torch.cuda, "stream", nullcontext)

    def graph_pool_handle(self) -> int:
        self.pools += 1
        return self.pools

    @contextmanager
    def graph(self, graph: object, pool: int) -> Iterator[None]:
        self.captured_into.append(pool)
        self.current = "side"
        yield
        if self._fault is not None:  # as torch does, it stays on the stream of the capture
            raise RuntimeError(self._fault)
        self.current = "main"

    def current_stream(self) -> Any:
        stream = Mock()
        stream.name = self.current
        return stream

    def set_stream(self, stream: Any) -> None:
        self.current = stream.name

    def mem_get_info(self, *_: object) -> tuple[int, int]:
        return 10**9 - self.CAPTURE_BYTES * len(self.captured_into), 10**9


def kept_on_fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engine_module, "kept_steps", lambda model, *, fused: KeptSteps(model, CudaGraphs, fused=fused)
    )


def test_graphs_of_the_same_tables_share_one_pool_and_their_memory_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other tables have another: torch refuses captures into a pool whose graphs are all gone."""
    cuda = FakeCuda(monkeypatch)
    kept_on_fake_cuda(monkeypatch)
    engine = Engine(made("smollm2"), (), slots=7)
    for most in (40, 40, 60):
        engine.run(asked(copies=4, most=most))
    first = cuda.captured_into.count(1)
    assert first > 1 and cuda.captured_into.count(2) > 1 and len(set(cuda.captured_into)) == 2
    assert engine._kept is not None and engine._kept._made is not None
    tables = sum(table.bytes for table in engine._kept._made[0].tables)
    assert engine._kept.bytes == tables + cuda.CAPTURE_BYTES * cuda.captured_into.count(2)


def test_after_a_capture_that_failed_work_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch, "operation not permitted when stream is capturing")
    kept_on_fake_cuda(monkeypatch)
    requests = asked(copies=4, most=40)
    found = Engine(made("smollm2"), (), slots=8).run(requests)
    monkeypatch.undo()
    assert (cuda.current, len(cuda.captured_into)) == ("main", 1)
    expected = Engine(made("smollm2"), (), slots=8).run(requests)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]


@pytest.mark.gpu
def test_on_cuda_a_step_that_waits_for_the_device_is_run_without_a_graph(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    requests = asked(copies=4, most=20)
    expected = Engine(made("smollm2").cuda(), (), slots=8).run(requests)
    step = Decoder.step

    def waiting(*given: Any) -> torch.Tensor:
        logits = step(*given)
        logits.sum().item()
        return logits

    monkeypatch.setattr(Decoder, "step", waiting)
    found = Engine(made("smollm2").cuda(), (), slots=8).run(requests)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    assert any("not captured as CUDA graphs" in record.message for record in caplog.records)
    torch.zeros(4, device="cuda").sum().item()  # the device goes on


@pytest.mark.parametrize(("device", "capture"), GRAPHS)
def test_graphs_leave_their_logits_in_one_place(
    device: str, capture: Callable[[Replay], Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the pool would hold those of every graph: 20 MB each at 64 rows of 152,000 tokens in bfloat16."""
    places: set[int] = set()

    def noting(run: Replay) -> Replay:
        replay = capture(run)

        def noted() -> torch.Tensor:
            logits = replay()
            places.add(logits.data_ptr())
            return logits

        return noted

    captures = Captures(noting)
    padded_steps(captures, monkeypatch)
    Engine(made("smollm2").to(device), (), slots=7).run(asked(copies=4, most=80))
    assert captures.count > 3 and len(places) == 1


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_tables_of_65_slots_have_96_rows_and_the_plan_counts_them(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cpu":
        padded_steps(lambda run: run, monkeypatch)
    engine = Engine(made("smollm2").to(device), (), slots=65)
    requests = asked(copies=22, most=24)[:65]
    engine.run(requests)
    assert engine._kept is not None and engine._kept._made is not None
    prompts, rollouts = engine._kept._made[0].tables
    assert rollouts.rows == 96
    assert engine._kept.bytes >= rollouts.bytes + prompts.bytes  # graphs too, on a GPU
    engine._kept = None
    plain = engine._plan(requests, 2**40)
    assert plain.slots == 65 and int(engine.figures["planned_bytes"]) > plain.bytes
    token = engine._footprint.token
    assert rollouts.bytes + prompts.bytes == token * (96 * rollouts.width + prompts.rows * prompts.width)


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
