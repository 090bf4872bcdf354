"""Rows and micro-batches by hand: what learns, what it costs, and where one batch ends."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from policies.text.batching import NO_ADVANTAGE, Row, cost, pack, rows_of

ROW = Row((1, 1), (2, 2, 2), 0.5, None)  # costs 5 tokens
FOUR = [replace(ROW, advantage=float(n)) for n in range(1, 5)]


def test_a_row_learns_by_an_advantage_and_a_token_that_trains() -> None:
    assert ROW.learns and replace(ROW, untrained=(True, True, False)).learns
    assert not replace(ROW, untrained=(True,) * 3).learns
    assert not replace(ROW, advantage=-NO_ADVANTAGE).learns
    assert replace(ROW, advantage=math.nan).learns, "it is found where gradients are looked at"


def test_stale_tokens_join_those_that_are_context_already() -> None:
    row = replace(ROW, stale=(True, False, False), untrained=(False, False, True))
    assert row.without_stale().untrained == (True, False, True)
    assert replace(row, untrained=None).without_stale().untrained == (True, False, False)
    assert ROW.without_stale() is ROW


def test_only_own_rollouts_have_what_the_own_sampler_recorded() -> None:
    rollout = Rollout("ab", (Segment(0, (5, 6), (-1.0, -2.0)),), Finish.LENGTH, 1.0)
    groups = [Group(Problem("t@1", 0, "", ""), (rollout,), origin) for origin in (None, "peer")]
    own, external = rows_of([TrainGroup(group, (0.5,)) for group in groups], lambda _: (1,))
    assert (own.sampled, own.external, own.untrained) == ((-1.0, -2.0), False, None)
    assert (external.sampled, external.external, external.logprobs) == (None, True, (-1.0, -2.0))


def test_costs_count_padding_and_a_shared_prompt_once() -> None:
    assert cost([replace(ROW, prompt_ids=(1,)), replace(ROW, token_ids=(2,) * 7)]) == 2 * (2 + 7)
    assert cost([ROW, ROW], (1,) * 16) == 16 + 2 * (3 + 16 / 8)


@pytest.mark.parametrize(
    ("budget", "sizes"), [(20, [4]), (19, [3, 1]), (10, [2, 2]), (9, [1] * 4), (1, [1] * 4)]
)
def test_a_micro_batch_is_filled_up_to_its_budget(budget: int, sizes: list[int]) -> None:
    assert [len(batch.rows) for batch in pack(FOUR, budget)] == sizes


@pytest.mark.parametrize(("least_saving", "shared"), [(6, ROW.prompt_ids), (7, None)])
def test_a_prompt_is_shared_where_that_spares_enough(
    least_saving: int, shared: tuple[int, ...] | None
) -> None:
    """Of four rows three read it, two tokens each."""
    other = replace(ROW, prompt_ids=(9, 9, 9))
    batches = pack([*FOUR, other], 1000, least_saving)
    assert [batch.shared_prompt for batch in batches if FOUR[0] in batch.rows] == [shared]
    assert [batch.shared_prompt for batch in batches if other in batch.rows] == [None]
    assert sum(len(batch.rows) for batch in batches) == 5
