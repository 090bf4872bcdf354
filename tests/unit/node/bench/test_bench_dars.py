"""The tabular bandit against autograd and the binomial law; the orders against made-up states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Interrupted
from node.bench.strategies import dars
from node.bench.strategies.bandit import (
    RIGHT,
    Allocation,
    BanditState,
    BanditWorld,
    ascent,
    sample,
    softmax,
    training,
)
from node.bench.strategies.dars import EQUAL, GRPO, HARDNESS, NAIVE, ORDERS, checks, follow, run
from policies.seeds import derive_generator

SMALL = BanditWorld(problems=40, answers=5)
ARMS = (GRPO, NAIVE, EQUAL, HARDNESS)


def test_a_step_follows_autograds_gradient() -> None:
    """Of the mean of advantage * log p over the rollouts of usable groups, times the number of problems."""
    generator = derive_generator(0)
    logits = torch.tensor(SMALL.logits(generator), requires_grad=True)
    counts = generator.multinomial(6, softmax(logits.detach().numpy()))
    terms = []
    for problem, drawn in enumerate(counts):
        if 0 < drawn[RIGHT] < 6:
            answers = [answer for answer, times in enumerate(drawn) for _ in range(times)]
            rewards = np.array([float(answer == RIGHT) for answer in answers])
            log_p = logits[problem].log_softmax(0)[answers]
            terms.append(torch.tensor(rewards - rewards.mean()) * log_p)
    (torch.cat(terms).mean() * SMALL.problems).backward()
    ours = ascent(counts)
    assert np.allclose(ours, logits.grad, rtol=1e-9, atol=1e-12)  # type: ignore[arg-type]


def test_groups_all_right_or_all_wrong_neither_move_nor_count() -> None:
    mixed = [3, 1, 0]
    alone, among = ascent(np.array([mixed])), ascent(np.array([mixed, [4, 0, 0], [0, 2, 2]]))
    assert np.array_equal(among[1:], np.zeros((2, 3)))
    assert np.allclose(among[0], 3 * alone[0])  # three problems, the same four rollouts in the mean
    assert not ascent(np.array([[4, 0, 0]])).any()


def test_the_second_stage_gives_each_problem_what_its_first_asks_for() -> None:
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    for strategy, totals in [(GRPO, [8, 8]), (NAIVE, [32, 32]), (EQUAL, [8, 32]), (HARDNESS, [8, 64])]:
        counts = sample(sure, strategy.first, strategy.extra(), derive_generator(0))
        assert counts.sum(axis=1).tolist() == totals


@pytest.mark.parametrize(
    ("strategy", "hit", "spent"),
    [(GRPO, 0.337, 8), (NAIVE, 0.806, 32), (EQUAL, 0.797, 27), (HARDNESS, 0.963, 52)],
)
def test_how_often_a_hard_problem_is_solved_at_all(strategy: Allocation, hit: float, spent: float) -> None:
    """Accuracy 0.05; the figures follow from the binomial law and the published table."""
    problems = np.tile([0.05, 0.95], (20_000, 1))
    counts = sample(problems, strategy.first, strategy.extra(), derive_generator(1, strategy.name))
    assert (counts[:, RIGHT] > 0).mean() == pytest.approx(hit, abs=0.012)
    assert counts.sum(axis=1).mean() == pytest.approx(spent, abs=0.5)


def test_problems_are_as_hard_as_the_law_says_and_start_as_drawn() -> None:
    logits = BanditWorld(problems=50_000).logits(derive_generator(2))
    assert softmax(logits)[:, RIGHT].mean() == pytest.approx(0.35 / 1.25, abs=0.005)
    assert np.ptp(softmax(logits)[:, RIGHT + 1 :], axis=1).max() < 1e-12


def test_pass_rates_are_exact() -> None:
    state = BanditState(np.log([[0.25, 0.75], [0.01, 0.99]]), steps=0, rollouts=0)
    assert state.pass_1 == pytest.approx(0.13)
    assert state.pass_128 == pytest.approx(1 - (0.75**128 + 0.99**128) / 2)


def test_a_course_is_fixed_by_its_seed_and_stays_within_grpos_budget() -> None:
    first, again, other = (follow(SMALL, HARDNESS, 6, seed) for seed in (0, 0, 1))
    assert first["equal_steps"].rollouts == again["equal_steps"].rollouts
    assert np.array_equal(first["equal_steps"].logits, again["equal_steps"].logits)
    assert not np.array_equal(first["start"].logits, other["start"].logits)
    assert first["equal_steps"].steps == 6
    states = list(
        zip(range(7), training(SMALL, HARDNESS, derive_generator(0, "bench", "dars")), strict=False)
    )
    budget = 6 * 8 * SMALL.problems
    assert first["equal_rollouts"].steps == max(s.steps for _, s in states if s.rollouts <= budget)


def test_strategies_meet_the_same_problems_and_grpo_can_afford_all_its_steps() -> None:
    courses = [follow(SMALL, strategy, 4, seed=3) for strategy in ARMS]
    assert all(np.array_equal(course["start"].logits, courses[0]["start"].logits) for course in courses)
    assert courses[0]["equal_rollouts"] is courses[0]["equal_steps"]
    assert courses[1]["equal_rollouts"].steps == 1  # of naive-32's four times dearer steps


def finals(*seeds: tuple[float, float, float, float]) -> dict[str, dict[Allocation, list[BanditState]]]:
    """Both comparisons with these accuracies of GRPO, naive, ET and HW in each seed."""
    states = {
        strategy: [
            BanditState(np.log([[seed[place], 1 - seed[place]]]), 1, (32, 32, 11, 15)[place])
            for seed in seeds
        ]
        for place, strategy in enumerate(ARMS)
    }
    return dict.fromkeys(("start", *ORDERS), states)


def test_an_order_holds_when_it_does_in_most_seeds() -> None:
    chain, broken = (0.001, 0.002, 0.003, 0.004), (0.001, 0.003, 0.002, 0.004)
    steps, rollouts, share = checks(finals(chain, broken, chain))
    assert (steps.ours, steps.low, steps.holds) == (1.0, 0.0, True)
    assert (rollouts.ours, rollouts.holds) == (0.0, False)  # naive must not beat GRPO there
    assert share.ours == pytest.approx(11 / 32)
    assert not checks(finals(chain, broken, broken))[0].holds


def test_a_tie_is_not_an_order() -> None:
    assert not checks(finals((0.001, 0.002, 0.004, 0.004)))[0].holds
    assert checks(finals((0.002, 0.001, 0.004, 0.003)))[1].holds


def test_the_report_names_its_checks_and_every_strategy() -> None:
    report = run(BenchOptions(repeats=1), lambda line: None)
    assert [check.name for check in report.checks] == [
        "order_equal_steps",
        "order_equal_rollouts",
        "et_share",
    ]
    assert report.checks[2].holds
    for comparison, order in ORDERS.items():
        names = [row["strategy"] for row in report.rows if row["comparison"] == comparison]
        assert names == [s.name for s in ARMS] + [f"{more.name} over {less.name}" for more, less in order]


def test_ctrl_c_keeps_the_seeds_that_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    def until_the_second_seed(
        world: BanditWorld, strategy: Allocation, steps: int, seed: int
    ) -> dict[str, BanditState]:
        if seed == 1:
            raise KeyboardInterrupt
        return follow(SMALL, strategy, 2, seed)

    monkeypatch.setattr(dars, "follow", until_the_second_seed)
    with pytest.raises(Interrupted) as caught:
        run(BenchOptions(repeats=3), lambda line: None)
    assert list(caught.value.report.seeds) == [0] and caught.value.report.rows
