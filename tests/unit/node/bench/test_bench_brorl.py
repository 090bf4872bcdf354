"""The token simulator against autograd and the paper's formulas; the accuracy mix against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from node.bench.kit import sampling_rate
from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Interrupted
from node.bench.strategies import brorl
from node.bench.strategies.accuracy_mix import AccuracyMix, calibrated
from node.bench.strategies.brorl import SimulatorSchedule, TokenOutcomes
from node.bench.strategies.token_simulator import TokenOutcome, TokenWorld, loss_gradient, sample, simulate
from policies.seeds import derive_generator

SMALL = TokenWorld(tokens=60, correct=12)


def surrogate(logits: torch.Tensor, sampled: torch.Tensor, correct: int) -> torch.Tensor:
    """The loss as the paper writes it, one rollout at a time."""
    rewards = torch.tensor([1.0 if token < correct else -1.0 for token in sampled.tolist()])
    terms = [
        (reward - rewards.mean()) * logits.softmax(0)[token]
        for reward, token in zip(rewards, sampled, strict=True)
    ]
    return -torch.stack(terms).mean()


def test_the_gradient_is_autograds() -> None:
    logits = SMALL.logits().requires_grad_()
    sampled = sample(logits.detach().softmax(0), 40, derive_generator(0))
    surrogate(logits, sampled, SMALL.correct).backward()
    ours = loss_gradient(logits.detach().softmax(0), sampled, SMALL.correct)
    assert torch.allclose(ours, logits.grad, rtol=1e-12, atol=1e-18)  # type: ignore[arg-type]


def test_steps_are_adamws_on_that_loss() -> None:
    logits = SMALL.logits().requires_grad_()
    before = logits.detach().softmax(0)[: SMALL.correct]
    optimizer = torch.optim.AdamW([logits], lr=0.01)
    generator = derive_generator(1)
    for _ in range(3):
        optimizer.zero_grad()
        sampled = sample(logits.detach().softmax(0), 16, generator)
        surrogate(logits, sampled, SMALL.correct).backward()
        optimizer.step()
    after = logits.detach().softmax(0)[: SMALL.correct]
    ours = simulate(SMALL, 16, 3, 0.01, derive_generator(1))
    assert ours.start == pytest.approx(float(before.sum()), rel=1e-12)
    assert ours.q_pos == pytest.approx(float(after.sum()), rel=1e-12)
    assert ours.gained == float((after > before).sum()) / SMALL.correct
    assert ours.worst == pytest.approx(float((after - before).min()), rel=1e-9)


def test_rollouts_that_all_agree_teach_nothing() -> None:
    probabilities = SMALL.logits().softmax(0)
    assert not loss_gradient(probabilities, torch.tensor([3, 0, 11]), SMALL.correct).any()


def test_a_run_is_fixed_by_its_generator() -> None:
    first, again, other = (simulate(SMALL, 8, 20, 0.01, derive_generator(seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_the_paper_starts_where_we_do() -> None:
    assert simulate(TokenWorld(), 4, 1, 1e-3, derive_generator(0)).start == pytest.approx(0.630, abs=0.002)


@pytest.mark.parametrize(
    ("rollouts", "published"), [(4, 3.15e-3), (64, 2.06e-3), (256, 9.50e-4), (1024, 1.01e-4)]
)
def test_the_unsampled_mass_falls_as_lemma_2_says(rollouts: int, published: float) -> None:
    """E[sum of p^2 over unsampled tokens] = sum p^2 (1-p)^N."""
    probabilities = TokenWorld(tokens=2000, correct=160).logits().softmax(0)
    expected = float((probabilities**2 * (1 - probabilities) ** rollouts).sum())
    generator = derive_generator(2, rollouts)
    left = []
    for _ in range(1000):
        unsampled = probabilities**2
        unsampled[sample(probabilities, rollouts, generator)] = 0
        left.append(float(unsampled.sum()))
    assert expected == pytest.approx(published, rel=0.01)
    assert np.mean(left) == pytest.approx(expected, rel=0.05)


def test_equal_samples_are_equal_and_the_rate_follows_the_root() -> None:
    for schedule in brorl.EQUAL_SAMPLES:
        assert 0 <= 16_000 - schedule.rollouts * schedule.steps < schedule.rollouts
    assert SimulatorSchedule.at_equal_samples(64) == SimulatorSchedule(64, 250, 2e-3)
    assert SimulatorSchedule.at_equal_samples(16) == SimulatorSchedule(16, 1000, 1e-3)


def outcomes(*runs: tuple[int, float, float, float]) -> TokenOutcomes:
    return {SimulatorSchedule(n, 1000, 1e-3): [TokenOutcome(0.63, *figures)] for n, *figures in runs}


def test_the_simulator_check_wants_all_of_the_papers_picture() -> None:
    rising = (4, 0.64, 0.54, -2e-4), (16, 0.69, 0.83, -3e-4), (512, 0.74, 1.0, 2e-5), (5120, 0.78, 1.0, -1e-6)
    assert brorl.simulator_check(outcomes(*rising)).ours == 1.0
    for worse in [(5120, 0.73, 1.0, 2e-5), (5120, 0.78, 0.99, 2e-5), (5120, 0.78, 1.0, -3e-5)]:
        check = brorl.simulator_check(outcomes(*rising[:-1], worse))
        assert (check.ours, check.holds) == (0.0, False)


def test_one_seed_in_two_is_not_enough() -> None:
    good, bad = TokenOutcome(0.63, 0.75, 1.0, 1e-5), TokenOutcome(0.63, 0.75, 1.0, -1e-3)
    check = brorl.simulator_check({SimulatorSchedule(512, 1000, 1e-3): [good, bad]})
    assert (check.ours, check.holds) == (0.5, False)


@pytest.mark.parametrize("rollouts", [2, 16, 512])
def test_usable_groups_of_evenly_spread_problems(rollouts: int) -> None:
    """Under Beta(1, 1) E[p^N] = 1 / (N + 1)."""
    mix = AccuracyMix(decided=0.25, shape=1.0)
    assert mix.usable(rollouts) == pytest.approx(0.75 * (1 - 2 / (rollouts + 1)), rel=1e-12)


def test_usable_groups_by_sampling() -> None:
    generator = derive_generator(3)
    right = generator.binomial(16, generator.beta(0.25, 0.25, 200_000))
    mix = AccuracyMix(decided=0.0, shape=0.25)
    assert mix.usable(16) == pytest.approx(float(((right > 0) & (right < 16)).mean()), abs=0.005)


def test_calibration_hits_the_rate_it_is_given_and_refuses_what_cannot_be() -> None:
    mix = calibrated(0.2, 16, 0.41)
    assert mix.usable(16) == pytest.approx(0.41, rel=1e-9)
    assert mix.shape == pytest.approx(0.25, abs=0.005)
    with pytest.raises(ValueError, match="70% decided"):
        calibrated(0.7, 16, 0.41)


def test_a_report_holds_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    few, full, many = (case.name for case in sampling_rate.CASES)
    rates = {few: [2.0, 2.0, 4.0], full: [5.0, 5.0, 5.0], many: [4.0, 5.0, 6.0]}
    monkeypatch.setattr(brorl, "EQUAL_STEPS", [SimulatorSchedule(n, 2, 1e-3) for n in (4, 16)])
    monkeypatch.setattr(brorl, "EQUAL_SAMPLES", [SimulatorSchedule.at_equal_samples(512)])
    monkeypatch.setattr(sampling_rate, "measure", lambda model, seeds, progress: rates)
    report = brorl.run(BenchOptions(repeats=2), lambda line: None)
    checks = {check.name: check for check in report.checks}
    assert list(checks) == ["simulator", "usable_ratio", "samples_ratio"]
    assert checks["usable_ratio"].ours == pytest.approx(1.5546, abs=0.05)
    counted = [row for row in report.rows if "usable_16" in row]
    for row in counted:  # what the strategy took is what the mix has it take, up to chance
        assert row["usable_16"] == pytest.approx(row["expected_16"], abs=0.04)
        assert row["usable_512"] == pytest.approx(row["expected_512"], abs=0.04)
    assert checks["usable_ratio"].holds
    assert (checks["samples_ratio"].ours, checks["samples_ratio"].low) == (2.0, 1.5)
    assert [row["n"] for row in report.rows if row.get("simulator") == "equal steps"] == [4, 16]
    assert len(report.rows) == 2 + 1 + len(brorl.DECIDED) + 3


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(brorl, "EQUAL_STEPS", [SimulatorSchedule(4, 1, 1e-3)])
    monkeypatch.setattr(brorl, "EQUAL_SAMPLES", [])
    monkeypatch.setattr(sampling_rate, "measure", interrupt)
    with pytest.raises(Interrupted) as caught:
        brorl.run(BenchOptions(repeats=1), lambda line: None)
    assert [check.name for check in caught.value.report.checks] == ["simulator", "usable_ratio"]
