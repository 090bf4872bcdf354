"""An update that runs out of memory: begun again in smaller micro-batches, to the same gradient, or refused."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from grpo_oracle import ROUNDING, gradients, hand_written_loss, largest_relative_difference
from test_shared_prefix import PLAIN, ROWS, trainer_of
from test_trainer_off_policy import gradients_at_the_step
from tiny_text import mixed_batch, tiny_model, tiny_tokenizer

from policies.policy import PolicyError, UpdateSpec
from policies.text.policy import TextPolicy
from policies.text.settings import TextSettings
from policies.text.trainer import GroupTrainer

CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory")
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def cramp(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Micro-batches of more than `most` rows fail in their backward pass; filled with the rows of those tried."""
    own, tried = GroupTrainer.training_step, []

    def step(self: GroupTrainer, model: torch.nn.Module, fields: Any, count: Any) -> torch.Tensor:
        tried.append(len(fields["advantages"]))
        loss = own(self, model, fields, count)
        if tried[-1] > most:
            raise error
        return loss

    monkeypatch.setattr(GroupTrainer, "training_step", step)
    return tried


@pytest.mark.parametrize("error", [CPU, CUDA], ids=["cpu", "cuda"])
@pytest.mark.parametrize("least_saving", [0, 1e9], ids=["shared", "alone"])
def test_a_smaller_micro_batch_gives_the_same_gradient(
    error: Exception, least_saving: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("policies.text.scoring.LEAST_SAVING_ON_CPU", least_saving)
    reference, model = tiny_model(), tiny_model()
    trainer = trainer_of(model)
    tried = cramp(monkeypatch, 2, error)
    seen = gradients_at_the_step(trainer, model)
    with caplog.at_level(logging.WARNING):
        step = trainer.step(ROWS)
    hand_written_loss(reference, ROWS, PLAIN).backward()
    assert largest_relative_difference(seen[0], gradients(reference)) < ROUNDING
    assert step.shortage is not None and "set trainer.token_budget" in step.shortage
    assert step.shortage in caplog.text and max(tried) > 2
    tried.clear()
    assert trainer.step(ROWS).shortage is None, "the smaller micro-batch is kept"
    assert max(tried) <= 2


def test_own_scores_are_computed_in_smaller_micro_batches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, own, tried = trainer_of(tiny_model()), GroupTrainer._get_per_token_logps_and_entropies, []

    def score(self: GroupTrainer, model: Any, ids: torch.Tensor, *args: Any, **options: Any) -> Any:
        tried.append(len(ids))
        if len(ids) > 2:
            raise CPU
        return own(self, model, ids, *args, **options)

    monkeypatch.setattr(GroupTrainer, "_get_per_token_logps_and_entropies", score)
    step = trainer.step(ROWS, UpdateSpec(epochs=2))
    assert step.shortage is not None and max(tried) > 2 and step.grad_norm > 0


def test_a_single_row_that_does_not_fit_is_refused_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trainer = trainer_of(model)
    cramp(monkeypatch, 0, CPU)
    with pytest.raises(PolicyError, match=r"not even one rollout.*gradient_checkpointing = true"):
        trainer.step(ROWS)
    assert gradients(model) == {}
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_other_errors_come_through_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(tiny_model())
    tried = cramp(monkeypatch, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        trainer.step(ROWS)
    assert len(tried) == 1


def test_a_policy_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = TextPolicy(tiny_model(), tiny_tokenizer(), TextSettings())
    cramp(monkeypatch, 3, CPU)
    report = policy.update(mixed_batch())
    assert report is not None and report.shortage is not None and report.micro_batches > 2


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.timeout(900)
def test_a_process_that_may_take_no_more_memory_goes_on_in_smaller_micro_batches() -> None:
    """No injected error: the system refuses what torch asks for. Freed memory goes back at once."""
    script = Path(__file__).with_name("limited_update.py")
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    rooms = ("60000000", "0", "1000000")
    ended = subprocess.run(
        [sys.executable, str(script), *rooms], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    cramped, free, nothing = json.loads(ended.stdout)
    assert [update["shortage"] for update in free] == [None, None]
    assert "out of memory in the update" in cramped[0]["shortage"] and cramped[1]["shortage"] is None
    for wide, narrow in zip(free, cramped, strict=True):
        assert narrow["micro_batches"] >= 2 * wide["micro_batches"]
        assert narrow["norm"] == pytest.approx(wide["norm"], rel=1e-3)
    assert "not even one rollout fits into memory" in nothing[0]["refused"]
