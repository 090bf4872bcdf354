"""What crosses between host and device: counted here on the CPU, where it costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_cuda_graphs import padded_steps
from tiny_models import asked, made

from policies.text.engine import Engine
from policies.text.engine.blank_model import blank_model


def test_a_token_is_read_back_once_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    read, waits = torch.Tensor.tolist, []

    def counted(self: torch.Tensor) -> Any:
        waits.append(self.shape)
        return read(self)

    padded_steps(lambda run: run, monkeypatch)
    engine = Engine(made("smollm2"), (), slots=7)
    requests = asked(copies=4, most=30)
    plain = engine.run(requests)
    with monkeypatch.context() as patched:
        for name in ("item", "__bool__", "__int__", "__float__"):  # each waits for the device too
            patched.setattr(torch.Tensor, name, _refused(name))
        patched.setattr(torch.Tensor, "tolist", counted)
        found = engine.run(requests)
    assert [one.token_ids for one in found] == [one.token_ids for one in plain]
    # One a step; and one wherever sequences enter, which draws their first tokens.
    assert len(waits) <= int(engine.figures["decode_steps"]) + len(requests)
    assert all(shape[0] == 2 for shape in waits)


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
