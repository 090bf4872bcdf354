"""The trainer over tokens that the present policy did not sample: stale ones, and later epochs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from grpo_oracle import ROUNDING, gradients, hand_written_loss, largest_relative_difference, token_logprobs
from small_trainer import ENCODING, PLAIN, ROWS, trainer_of
from tiny_text import problem, tiny_model

from policies.policy import DivergedError, Stale, UpdateSpec
from policies.rollout import Finish, Group, Rollout, Segment, TrainGroup
from policies.text.batching import Row, rows_of
from policies.text.settings import TrainerSettings
from policies.text.trainer import GroupTrainer


def resumed_batch() -> tuple[TrainGroup, ...]:
    """At version 2: a rollout begun by version 0, one wholly by version 1, one fresh; a peer's by version 1."""
    begun = Rollout(
        "abcd", (Segment(0, (10, 11), (-3.0, -2.0)), Segment(2, (12, 1), (-4.0, -3.0))), Finish.STOP, 1.0
    )
    old = Rollout("ef", (Segment(1, (14, 15, 1), (-3.5, -2.5, -1.0)),), Finish.STOP, 0.0)
    fresh = Rollout("gh", (Segment(2, (16, 17), (-3.0, -3.0)),), Finish.LENGTH, 0.0)
    own = TrainGroup(Group(problem("1+2="), (begun, old, fresh)), (0.7, -0.4, 0.3))
    peers = Rollout("ij", (Segment(1, (18, 19), None),), Finish.LENGTH, 1.0)
    return own, TrainGroup(Group(problem("1+2="), (peers,), "peer"), (0.5,))


def test_own_tokens_of_an_older_policy_version_are_stale() -> None:
    marks = [row.stale for row in rows_of(resumed_batch(), ENCODING.problem_prompt, 2)]
    assert marks == [(True, True, False, False), (True, True, True), None, None]
    assert [row.stale for row in rows_of(resumed_batch(), ENCODING.problem_prompt)] == [None] * 4


def settled_by_hand(rows: list[Row], stale: Stale) -> list[Row]:
    settled = []
    for row in rows:
        marks = row.stale or (False,) * len(row.token_ids)
        logprobs = row.logprobs
        if stale is Stale.RECOMPUTE and logprobs:
            own = token_logprobs(tiny_model(), row).tolist()
            logprobs = tuple(
                o if mark else known for o, mark, known in zip(own, marks, logprobs, strict=True)
            )
        untrained = marks if stale is Stale.MASK else None
        settled.append(replace(row, stale=None, logprobs=logprobs, untrained=untrained))
    return settled


@pytest.mark.parametrize("stale", Stale)
@pytest.mark.parametrize("constant_length", [None, 16])
def test_stale_tokens_are_treated_as_asked(stale: Stale, constant_length: int | None) -> None:
    rows = rows_of(resumed_batch(), ENCODING.problem_prompt, 2)
    reference, model = tiny_model(), tiny_model()
    normaliser = constant_length and 16 * len(rows)
    loss = hand_written_loss(reference, settled_by_hand(rows, stale), PLAIN, normaliser=normaliser)
    loss.backward()
    trainer = trainer_of(model, PLAIN.model_copy(update={"learning_rate": 1e-9}))
    seen = gradients_at_the_step(trainer, model)
    step = trainer.step(rows, UpdateSpec(stale=stale, constant_length=constant_length))
    assert step.accumulated.loss == pytest.approx(loss.item(), rel=ROUNDING)
    assert step.accumulated.tokens == (6 if stale is Stale.MASK else 11)
    assert largest_relative_difference(seen[0], gradients(reference)) < ROUNDING


def gradients_at_the_step(trainer: GroupTrainer, model: torch.nn.Module) -> list[dict[str, torch.Tensor]]:
    """Filled with the gradients of each optimiser step to come."""
    seen: list[dict[str, torch.Tensor]] = []
    trainer.optimizer.optimizer.register_step_pre_hook(lambda *_: seen.append(gradients(model)))
    return seen


def test_epochs_go_over_the_batch_against_the_first_one_s_logprobs() -> None:
    settings = PLAIN.model_copy(update={"learning_rate": 1e-2, "max_grad_norm": 0.5})
    reference, model = tiny_model(), tiny_model()
    fixed = [
        replace(row, logprobs=row.logprobs or tuple(token_logprobs(reference, row).tolist())) for row in ROWS
    ]
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2 / 4, betas=(0.9, 0.99), weight_decay=0.0)
    losses, norms, expected = [], [], []
    for _ in range(3):
        optimizer.zero_grad()
        loss = hand_written_loss(reference, fixed, replace_clip(settings, 0.1, 0.15))
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)))
        losses.append(loss.item())
        expected.append(gradients(reference))
        optimizer.step()

    trainer = trainer_of(model, settings)
    seen = gradients_at_the_step(trainer, model)
    step = trainer.step(ROWS, UpdateSpec(epochs=3, learning_rate_scale=0.25, clip=(0.1, 0.15)))

    assert step.learning_rate == pytest.approx(1e-2 / 4)
    assert step.accumulated.loss == pytest.approx(losses[0], rel=1e-5)
    assert step.grad_norm == pytest.approx(max(norms), rel=1e-4)
    assert largest_relative_difference(seen[0], expected[0]) < ROUNDING
    # Adam's first steps blow rounding up where a gradient is next to zero.
    assert largest_relative_difference(seen[1], expected[1]) < 1e-3
    assert largest_relative_difference(seen[2], expected[2]) < 1e-2
    assert trainer.state.global_step == 1
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2)
    assert (trainer.epsilon_low, trainer.epsilon_high) == (0.2, 0.28)


def replace_clip(settings: TrainerSettings, low: float, high: float) -> TrainerSettings:
    return settings.model_copy(update={"epsilon_low": low, "epsilon_high": high})


def test_an_update_that_diverges_late_changes_nothing() -> None:
    model = tiny_model()
    trainer = trainer_of(model, TrainerSettings(learning_rate=1e-2))
    trainer.step(ROWS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = [{key: value.clone() for key, value in s.items()} for s in trainer.optimizer.state.values()]
    steps: list[int] = []

    def spoil(*_: object) -> None:
        steps.append(1)
        with torch.no_grad():
            model.model.norm.weight[0] = math.nan

    hook = trainer.optimizer.optimizer.register_step_post_hook(spoil)
    with pytest.raises(DivergedError, match="update was dropped"):
        trainer.step(ROWS, UpdateSpec(epochs=2, learning_rate_scale=0.5))
    hook.remove()

    assert steps == [1], "the first epoch was to succeed"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for ours, theirs in zip(trainer.optimizer.state.values(), state, strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2)
    trainer.step(ROWS)
