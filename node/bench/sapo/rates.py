"""The learning rate of each arm, chosen on a seed that is not reported on.

The rule: of the rates that were asked for, the one at which the arm's own reward, summed over nodes and rounds, is
largest; the smaller one where two are level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.bench.kit.options import BenchError
from node.bench.kit.report import Row
from node.bench.sapo.arms import Arm
from node.bench.sapo.cell import Cell
from node.bench.sapo.measures import cumulative, held_out
from node.bench.sapo.population import LEARNING_RATE

CHOICE_SEED = 10_000


def candidates(arm: Arm, rates: Sequence[float]) -> list[Arm]:
    """The arm at each rate, smallest first. At the policy's own rate it is the arm as it was."""
    return [replace(arm, learning_rate=None if rate == LEARNING_RATE else rate) for rate in sorted(rates)]


def chosen(arm: Arm, rates: Sequence[float], cells: Mapping[str, Cell]) -> Arm:
    """The candidate that the rule takes; the arm as it was until all were tried.

    `cells` are those of CHOICE_SEED by the key of their arm.
    """
    tried = candidates(arm, rates)
    if not tried or any(candidate.key not in cells for candidate in tried):
        return arm
    return max(tried, key=lambda candidate: cumulative(cells[candidate.key]))


def choice_rows(arms: Sequence[Arm], rates: Sequence[float], cells: Mapping[str, Cell]) -> list[Row]:
    """What each arm came to at each rate on the seed that is not reported on."""
    return [
        {
            "rate_of": arm.name,
            "rate": rate_of(candidate),
            "own_reward": cumulative(cells[candidate.key]),
            "pass_1": held_out(cells[candidate.key]),
            "chosen": candidate == chosen(arm, rates, cells),
        }
        for arm in arms
        for candidate in candidates(arm, rates)
        if candidate.key in cells
    ]


def rate_of(arm: Arm) -> float:
    """The learning rate of an arm of embedded policies."""
    return LEARNING_RATE if arm.learning_rate is None else arm.learning_rate


def parse_rates(words: Sequence[str]) -> tuple[float, ...]:
    """Learning rates, as numbers. Raises BenchError."""
    try:
        rates = tuple(float(word) for word in words)
    except ValueError:
        rates = (math.nan,)
    if not all(0.0 < rate < 1.0 for rate in rates):
        raise BenchError(
            f"{','.join(words)} are no learning rates: write numbers between 0 and 1, like 1.5e-4,3e-4"
        )
    return rates
