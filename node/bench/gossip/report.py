"""Rows and checks of `bench gossip`: bytes, seconds and delivery of measured swarms."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence

from node.bench.gossip.process import Measurement
from node.bench.gossip.swarm_plan import OURS, REFERENCE, SwarmPlan, SwarmRound
from node.bench.kit.report import Check, Row

FLATNESS_CEILING = 1.25
ADVANTAGE_FLOOR = 20.0
DELIVERY_FLOOR = 0.99
CLIFF = "cliff"

_MB = 1e6
_KB = 1e3


def rows_of(measurements: Sequence[Measurement]) -> Iterator[Row]:
    """One row for each case and side, over the rounds of all repeats."""
    for case, side in dict.fromkeys((m.plan.case, m.plan.side) for m in measurements):
        mine = [m for m in measurements if (m.plan.case, m.plan.side) == (case, side)]
        yield _row(mine[0].plan, [r for m in mine for r in m.rounds])


def checks_of(measurements: Sequence[Measurement]) -> list[Check]:
    """Those whose cases were measured."""
    rounds = _by_place(measurements)
    checks = []
    if ("n8", OURS) in rounds and ("n32", OURS) in rounds:
        flatness = _ratios(rounds["n32", OURS], rounds["n8", OURS])
        paper = "prototype, J = 8: 0.95 / 0.77 MB = 1.23"
        checks.append(Check.of("flatness", flatness, paper=paper, ceiling=FLATNESS_CEILING))
    if ("n32", OURS) in rounds and ("n32", REFERENCE) in rounds:
        advantage = _ratios(rounds["n32", REFERENCE], rounds["n32", OURS])
        paper = "prototype, J = 8: 43.5 / 0.95 MB = 46"
        checks.append(Check.of("advantage_32", advantage, paper=paper, floor=ADVANTAGE_FLOOR))
    if (CLIFF, OURS) in rounds:
        wanted = next(m.plan.wanted for m in measurements if (m.plan.case, m.plan.side) == (CLIFF, OURS))
        delivered = [delivered_share(played, wanted) for played in rounds[CLIFF, OURS]]
        paper = "reference at N = 48, 100 kB: 0 of 48 readable"
        checks.append(Check.of(CLIFF, delivered, paper=paper, floor=DELIVERY_FLOOR))
    return checks


def delivered_share(played: SwarmRound, wanted: int) -> float:
    """Bodies got over bodies wanted, over all nodes of a round."""
    return sum(played.got) / (wanted * len(played.got))


def _row(plan: SwarmPlan, rounds: Sequence[SwarmRound]) -> Row:
    received = [r.bytes_per_node() for r in rounds]
    return {
        "case": plan.case,
        "nodes": plan.nodes,
        "side": plan.side,
        "rounds": len(rounds),
        "body_kb": plan.size / _KB,
        **_median("mb", [size / _MB for size in received]),
        **_median("seconds", [r.seconds for r in rounds]),
        "delivered": statistics.fmean(delivered_share(r, plan.wanted) for r in rounds),
        "empty_handed": statistics.fmean(r.got.count(0) / plan.nodes for r in rounds),
        # Over what J bodies weigh, for both sides: the reference takes whatever there is.
        "overhead_kb": (statistics.median(received) - plan.fetched * plan.size) / _KB,
        **{f"{verb}_kb": _median_of_verb(rounds, verb) / _KB for verb in ("announce", "read", "fetch")},
        "lag": statistics.fmean(r.lag for r in rounds),
        "failures": sum(r.failures for r in rounds),
        "run": f"{plan.at_once} at once, {plan.patience:g} s, {plan.message_limit >> 20} MiB",
    }


def _median(column: str, figures: Sequence[float]) -> dict[str, float]:
    return {
        column: statistics.median(figures),
        f"{column}_low": min(figures),
        f"{column}_high": max(figures),
    }


def _median_of_verb(rounds: Iterable[SwarmRound], verb: str) -> float:
    return statistics.median(played.bytes_per_node(verb) for played in rounds)


def _ratios(above: Sequence[SwarmRound], below: Sequence[SwarmRound]) -> list[float]:
    """Bytes per node over bytes per node, round by round. After Ctrl-C one may have fewer repeats."""
    return [a.bytes_per_node() / b.bytes_per_node() for a, b in zip(above, below, strict=False)]


def _by_place(measurements: Sequence[Measurement]) -> dict[tuple[str, str], list[SwarmRound]]:
    places: dict[tuple[str, str], list[SwarmRound]] = {}
    for measurement in measurements:
        place = measurement.plan.case, measurement.plan.side
        places.setdefault(place, []).extend(measurement.rounds)
    return places
