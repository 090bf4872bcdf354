"""`murmur bench gossip`: bytes and seconds of a node's round with real daemons, ours against the reference pattern.

Ours announces a body and fetches J of others'; the reference stores every body under one DHT key and reads them all.
Bytes are what the loopback of a network of the swarm's own received. All nodes of a swarm share one process and this
machine's cores, so bytes are solid and seconds are upper bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from node.bench.gossip import memory_growth, report, scale
from node.bench.gossip.process import Measurement, measure
from node.bench.gossip.swarm_plan import OURS, REFERENCE, SwarmPlan, SwarmRound
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report
from swarm import simulation

SEEDS = 1
ROUNDS = 3
BODY = 100_000  # bytes
CLIFF_BODY = 160_000  # 32 of them pass 4 MiB
MEMORY = "memory"
SIMULATED = "simulated"


def _sides(case: str, nodes: int) -> tuple[SwarmPlan, SwarmPlan]:
    """Ours, and the reference with what it needs so that its design is measured and not its timeouts.

    Several MB to many readers at once outlast hivemind's 3 s, and 64 bodies pass its 4 MiB. From 32 nodes on a
    round of the reference takes both cores a minute; beside its 1.4 GB, connections need no settling round.
    """
    ours = SwarmPlan(case, OURS, nodes, BODY, seed=0, rounds=ROUNDS)
    settling = int(nodes < 32)
    return ours, replace(
        ours, side=REFERENCE, settling=settling, at_once=2, patience=60.0, message_limit=2**28
    )


def _cliff() -> tuple[SwarmPlan, SwarmPlan]:
    """Both sides as they come: hivemind's own patience and limit. Every body has a key of its round: no settling."""
    ours = SwarmPlan(report.CLIFF, OURS, 32, CLIFF_BODY, seed=0, rounds=ROUNDS)
    return ours, replace(ours, side=REFERENCE, rounds=1, settling=0)


CASES: Mapping[str, tuple[SwarmPlan, ...]] = MappingProxyType(
    {f"n{nodes}": _sides(f"n{nodes}", nodes) for nodes in (4, 8, 16, 32, 64)}
    | {report.CLIFF: _cliff(), SIMULATED: (), MEMORY: ()}
)
UNASKED = tuple(case for case in CASES if case not in ("n64", MEMORY))  # what runs when no case is named


@dataclass(slots=True)
class GossipMeasurements:
    """What has been measured so far; a report can be made of it at any time."""

    machine: Mapping[str, str | int]
    seeds: Sequence[int]
    swarms: list[Measurement] = field(default_factory=list)
    simulated: dict[int, simulation.SimulationResult] = field(default_factory=dict)  # by nodes
    samples: list[memory_growth.MemorySample] = field(default_factory=list)

    def report(self) -> Report:
        rows = [
            *report.rows_of(self.swarms),
            *scale.rows_of(self.simulated),
            *memory_growth.rows_of(self.samples),
        ]
        checks = [
            *report.checks_of(self.swarms),
            *scale.checks_of(self.simulated),
            *memory_growth.checks_of(self.samples),
        ]
        return Report("gossip", {**self.machine, **self._counted_on()}, self.seeds, rows, checks)

    def _counted_on(self) -> dict[str, str]:
        if not self.swarms:
            return {}
        own = all(swarm.own_network for swarm in self.swarms)
        shared = "the host's loopback: traffic of other programs counts too"
        return {"bytes_on": "the loopback of an own network" if own else shared}


def run(options: BenchOptions, progress: Progress) -> Report:
    """Every case in every seed, each swarm in a process of its own.

    Raises BenchError before anything is measured, TransportDown when a swarm does not start, Interrupted with the
    swarms that are complete on Ctrl-C.
    """
    refuse_unknown("case", options.cases, CASES)
    measured = GossipMeasurements(options.machine, range(options.repeats or SEEDS))
    cases = [case for case in CASES if case in (options.cases or UNASKED)]
    try:
        for seed in measured.seeds:
            for plan in _plans(cases, seed):
                progress(f"{_name(plan)}: {plan.nodes} nodes start")
                measured.swarms.append(measure(plan, partial(_report_round, progress, plan)))
        if SIMULATED in cases:
            for nodes in (scale.SMALL, scale.LARGE):
                scenario = simulation.Scenario(nodes, rounds=scale.ROUNDS, seed=measured.seeds[0])
                measured.simulated[nodes] = simulation.simulate(scenario, progress)
        if MEMORY in cases:
            for sample in memory_growth.watch(measured.seeds[0], progress):
                measured.samples.append(sample)  # one by one: Ctrl-C keeps them
    except (KeyboardInterrupt, simulation.Interrupted):
        raise Interrupted(measured.report()) from None
    return measured.report()


def _plans(cases: Sequence[str], seed: int) -> Iterator[SwarmPlan]:
    for case in cases:
        for plan in CASES[case]:
            yield replace(plan, seed=seed)


def _name(plan: SwarmPlan) -> str:
    return f"seed {plan.seed}, {plan.case}, {plan.side}"


def _report_round(progress: Progress, plan: SwarmPlan, played: SwarmRound) -> None:
    share = report.delivered_share(played, plan.wanted)
    size = played.bytes_per_node() / 1e6
    progress(f"{_name(plan)}: {size:.2f} MB a node in {played.seconds:.1f} s, {share:.0%} delivered")
