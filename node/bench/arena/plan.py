"""The plan of an arena, which all its cells share, by the options of a call: judged before what trains is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from node.bench.arena.attacks import ATTACKS
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown

NODES, MALICIOUS = 4, 0.25
# Within a hundred rounds undefended nodes take a phrase up in one seed of two; in 150 no more than that. All cells are
# three CPU hours, half as long on two cores.
ROUNDS = 100


@dataclass(frozen=True, slots=True)
class ArenaPlan:
    """What all cells of one run have in common."""

    nodes: int  # the hostile ones among them, where they have an address each
    rounds: int
    malicious: float  # share of the nodes

    @property
    def hostile(self) -> int:
        return max(1, round(self.malicious * self.nodes))

    @property
    def honest(self) -> int:
        return self.nodes - self.hostile


def plan_of(options: BenchOptions) -> ArenaPlan:
    """Raises BenchError for what cannot be measured."""
    refuse_unknown("attack", options.cases, ATTACKS)
    malicious = MALICIOUS if options.malicious is None else options.malicious
    plan = ArenaPlan(options.nodes or NODES, options.rounds or ROUNDS, malicious)
    if not math.isfinite(malicious):
        raise BenchError(f"--malicious is a share between 0 and 1; it is {malicious:g}")
    if not 0.0 < malicious < 1.0 or plan.honest < 2:
        raise BenchError(
            f"of {plan.nodes} nodes, {malicious:g} hostile, {max(0, plan.honest)} are honest: two or more have to "
            "be, and one hostile; set --malicious between 0 and 1, or more --nodes"
        )
    return plan
