"""Padded steps of few shapes, as CUDA graphs need them; here without a graph, which replays the same code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import SHARED, asked, made

from policies.text.engine import Engine, weights
from policies.text.engine import engine as engine_module
from policies.text.engine import kept_steps as kept_module
from policies.text.engine.cuda_graphs import Replay, bucket, cuda_graph, row_bucket
from policies.text.engine.kept_steps import KeptSteps
from policies.text.engine.weights import Arithmetic


def padded_steps(capture: Callable[[Replay], Replay], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines step as on a GPU, by `capture` in place of a graph."""
    monkeypatch.setattr(engine_module, "kept_steps", lambda model: KeptSteps(model, capture))


class Captures:
    """Counts the captures of `capture`, which by default makes no graph of a pass."""

    def __init__(self, capture: Callable[[Replay], Replay] = lambda run: run) -> None:
        self.count = 0
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
    pytest.param("cuda", cuda_graph, id="cuda", marks=pytest.mark.gpu),
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
