"""What crosses between host and device: counted here on the CPU, where it costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_cuda_graphs import padded_steps
from tiny_models import asked, made

from policies.text.engine import Engine
from policies.text.engine.attention import SlotGrid
from policies.text.engine.batch import AHEAD, Batch
from policies.text.engine.blank_model import blank_model


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_tokens_are_read_back_a_few_at_a_time_and_for_all_rows(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, waits = torch.Tensor.tolist, []

    def counted(self: torch.Tensor) -> Any:
        waits.append(self.shape)
        return read(self)

    requests = asked(copies=4, most=30)
    ends = Engine(made("smollm2"), (), slots=7).run(requests)[0].token_ids[5:6]  # some of them now end by it
    plain = Engine(made("smollm2"), ends, slots=7).run(requests)
    if device == "cpu":
        padded_steps(lambda run: run, monkeypatch)
    engine = Engine(made("smollm2").to(device), ends, slots=7)
    with monkeypatch.context() as patched:
        for name in ("item", "__bool__", "__int__", "__float__"):  # each waits for the device too
            patched.setattr(torch.Tensor, name, _refused(name))
        patched.setattr(torch.Tensor, "tolist", counted)
        found = engine.run(requests)
    assert [(one.token_ids, one.finish) for one in found] == [(one.token_ids, one.finish) for one in plain]
    assert len({one.finish for one in found}) == 2
    drawn = sum(shape[0] for shape in waits)
    assert [shape[1] for shape in waits] == [2] * len(waits)
    # Few at a time; and one wherever sequences enter, which draws their first tokens.
    steps = int(engine.figures["decode_steps"])
    assert steps < drawn <= steps + len(requests)
    assert max(shape[0] for shape in waits) == AHEAD and len(waits) < steps / 2 + len(requests)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_few_tokens_cost_one_copy_to_the_device_and_one_more_where_rows_change(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cpu":
        padded_steps(lambda run: run, monkeypatch)
    engine = Engine(made("smollm2").to(device), (), slots=7)
    requests = asked(copies=4, most=30)
    copies, made_new, grids, entered = 0, torch.tensor, SlotGrid.of, [0, 0]

    def counted(*given: Any, **how: Any) -> torch.Tensor:
        nonlocal copies
        copies += 1
        assert torch.device(how.get("device", "cpu")).type == "cpu" or how["device"].type == device
        return made_new(*given, **how)

    def grid_of(*given: Any) -> SlotGrid:
        before = copies
        grid = grids(*given)
        entered[0] += 1
        entered[1] += copies - before
        return grid

    bursts = 0
    step = Batch.step

    def stepped(batch: Batch) -> None:
        nonlocal bursts
        bursts += 1
        before = copies, entered[1]
        step(batch)
        assert copies - before[0] - (entered[1] - before[1]) == 1

    monkeypatch.setattr(torch, "tensor", counted)
    monkeypatch.setattr(SlotGrid, "of", grid_of)
    monkeypatch.setattr(Batch, "step", stepped)
    engine.run(requests)
    assert bursts < int(engine.figures["decode_steps"]) / 2
    assert entered[0] == entered[1] <= bursts  # one copy a grid, and grids only where rows change


def _refused(name: str) -> Any:
    def wait(self: torch.Tensor, *_: Any) -> None:
        raise AssertionError(f"Tensor.{name} waits for the device amid sampling")

    return wait


def test_a_working_copy_is_made_on_its_device() -> None:
    """Of a model on `meta` nothing lies on the host."""
    config = made("smollm2").config
    blank = blank_model(config, torch.bfloat16, torch.device("meta"))
    assert {tensor.device.type for tensor in (*blank.parameters(), *blank.buffers())} == {"meta"}
    assert {parameter.dtype for parameter in blank.parameters()} == {torch.bfloat16}
    assert blank.get_output_embeddings().weight is blank.get_input_embeddings().weight


@pytest.mark.gpu
def test_on_a_gpu_a_working_copy_leaves_the_host_alone() -> None:
    config = made("smollm2").config
    blank = blank_model(config, torch.bfloat16, torch.device("cuda"))
    assert {tensor.device.type for tensor in (*blank.parameters(), *blank.buffers())} == {"cuda"}
