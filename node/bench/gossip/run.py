"""`murmur bench gossip`: what a round costs a node, with real daemons, ours against the reference pattern.

Ours announces a body and fetches J of others'; the reference stores every body under one DHT key and reads them all.
Bytes are what the loopback of a network of the swarm's own received. All nodes of a swarm share one process and this
machine's cores, so bytes are solid and seconds are upper bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from node.bench.gossip import memory as gossip_memory
from node.bench.gossip import report as gossip_report
from node.bench.gossip import scale as gossip_scale
from node.bench.gossip.plan import OURS, REFERENCE, Plan, Round
from node.bench.gossip.process import Measurement, measure
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report
from swarm import simulation

SEEDS = 1
ROUNDS = 3
BODY = 100_000  # bytes
CLIFF_BODY = 160_000  # 32 of them pass 4 MiB
MEMORY = "memory"
SIMULATED = "simulated"


def _sides(case: str, nodes: int) -> tuple[Plan, Plan]:
    """Ours, and the reference with what it needs so that its design is measured and not its timeouts.

    Several MB to many readers at once outlast hivemind's 3 s, and 64 bodies pass its 4 MiB. From 32 nodes on a
    round of the reference takes both cores a minute; beside its 1.4 GB, connections need no settling round.
    """
    ours = Plan(case, OURS, nodes, BODY, seed=0, rounds=ROUNDS)
    settling = int(nodes < 32)
    return ours, replace(
        ours, side=REFERENCE, settling=settling, at_once=2, patience=60.0, message_limit=2**28
    )


def _cliff() -> tuple[Plan, Plan]:
    """Both sides as they come: hivemind's own patience and limit. Every body has a key of its round: no settling."""
    ours = Plan(gossip_report.CLIFF, OURS, 32, CLIFF_BODY, seed=0, rounds=ROUNDS)
    return ours, replace(ours, side=REFERENCE, rounds=1, settling=0)


CASES: Mapping[str, tuple[Plan, ...]] = MappingProxyType(
    {f"n{nodes}": _sides(f"n{nodes}", nodes) for nodes in (4, 8, 16, 32, 64)}
    | {gossip_report.CLIFF: _cliff(), SIMULATED: (), MEMORY: ()}
)
UNASKED = tuple(case for case in CASES if case not in ("n64", MEMORY))  # what runs when no case is named


@dataclass(slots=True)
class Ledger:
    """What has been measured so far; a report can be made of it at any time."""

    machine: Mapping[str, str | int]
    seeds: Sequence[int]
    swarms: list[Measurement] = field(default_factory=list)
    simulated: dict[int, simulation.Outcome] = field(default_factory=dict)  # by nodes
    looks: list[gossip_memory.Look] = field(default_factory=list)

    def report(self) -> Report:
        rows = [
            *gossip_report.rows_of(self.swarms),
            *gossip_scale.rows_of(self.simulated),
            *gossip_memory.rows_of(self.looks),
        ]
        checks = [
            *gossip_report.checks_of(self.swarms),
            *gossip_scale.checks_of(self.simulated),
            *gossip_memory.checks_of(self.looks),
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
    ledger = Ledger(options.machine, range(options.repeats or SEEDS))
    cases = [case for case in CASES if case in (options.cases or UNASKED)]
    try:
        for seed in ledger.seeds:
            for plan in _plans(cases, seed):
                progress(f"{_name(plan)}: {plan.nodes} nodes start")
                ledger.swarms.append(measure(plan, partial(_tell, progress, plan)))
        if SIMULATED in cases:
            for nodes in (gossip_scale.SMALL, gossip_scale.LARGE):
                scenario = simulation.Scenario(nodes, rounds=gossip_scale.ROUNDS, seed=ledger.seeds[0])
                ledger.simulated[nodes] = simulation.simulate(scenario, progress)
        if MEMORY in cases:
            for look in gossip_memory.watch(ledger.seeds[0], progress):
                ledger.looks.append(look)  # one by one: Ctrl-C keeps them
    except (KeyboardInterrupt, simulation.Interrupted):
        raise Interrupted(ledger.report()) from None
    return ledger.report()


def _plans(cases: Sequence[str], seed: int) -> Iterator[Plan]:
    for case in cases:
        for plan in CASES[case]:
            yield replace(plan, seed=seed)


def _name(plan: Plan) -> str:
    return f"seed {plan.seed}, {plan.case}, {plan.side}"


def _tell(progress: Progress, plan: Plan, played: Round) -> None:
    share = gossip_report.delivered_share(played, plan.wanted)
    size = played.bytes_per_node() / 1e6
    progress(f"{_name(plan)}: {size:.2f} MB a node in {played.seconds:.1f} s, {share:.0%} delivered")
