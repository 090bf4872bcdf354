"""The faults of `murmur bench faults`: how each strikes a running swarm, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

from node.bench.faults.swarm import START_SECONDS, Member, TestedSwarm
from node.bench.netlab.wire import Line

ROUGH = Line(loss=0.3, delay=0.2)


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """What a fault did to a swarm."""

    at: float  # Unix seconds
    across: frozenset[tuple[str, str]]  # (receiver, sender) whose delivery it disturbs, by name
    victims: Sequence[Member] = ()  # nodes that it killed
    left_over: int = 0  # processes that outlived them


@dataclass(frozen=True, slots=True)
class FaultCase:
    name: str
    seconds: float  # how long the fault lasts
    strike: Callable[[TestedSwarm], InjectedFault]
    mend: Callable[[TestedSwarm, InjectedFault], None]


def lose_packets(swarm: TestedSwarm) -> InjectedFault:
    """Each host's packets take 200 ms longer, and 30 % of them never arrive."""
    swarm.lab.shape((member.host for member in swarm.everybody), ROUGH)
    return InjectedFault(time.time(), frozenset(permutations((member.name for member in swarm.members), 2)))


def calm(swarm: TestedSwarm, fault: InjectedFault) -> None:
    swarm.lab.shape((member.host for member in swarm.everybody), Line())


def part(swarm: TestedSwarm) -> InjectedFault:
    """Every second node cannot reach the others and the bootstrap peer, nor they it."""
    island, mainland = swarm.members[::2], swarm.members[1::2]
    swarm.lab.part([member.host for member in island])
    return InjectedFault(time.time(), _ways(island, mainland))


def heal(swarm: TestedSwarm, fault: InjectedFault) -> None:
    swarm.lab.heal()


def lose_publisher(swarm: TestedSwarm) -> InjectedFault:
    """A node's whole host is gone, without a farewell, right after its round and thus its newest announcement."""
    publisher = swarm.members[0]
    known = len(publisher.history.rounds())
    swarm.wait(lambda: len(publisher.history.rounds()) > known, START_SECONDS, "another round")
    swarm.lab.cut([publisher.host])
    at = time.time()
    left = swarm.kill([publisher])
    return InjectedFault(at, _ways([publisher], swarm.members[1:]), [publisher], left)


def kill_half(swarm: TestedSwarm) -> InjectedFault:
    """Every second node gets SIGKILL at the same moment, wherever in its round it is."""
    at, victims = time.time(), swarm.members[::2]
    left = swarm.kill(victims)
    return InjectedFault(at, _ways(victims, swarm.members[1::2]), victims, left)


def lose_bootstrap(swarm: TestedSwarm) -> InjectedFault:
    """The bootstrap peer's host is gone for good; after that a node dies, which has to come back without it."""
    bootstrap, swarm.bootstrap, victim = swarm.bootstrap, None, swarm.members[-1]
    assert bootstrap is not None  # the swarm has been started, and this is the last case
    at = time.time()
    swarm.lab.cut([bootstrap.host])
    left = swarm.kill([bootstrap, victim])
    return InjectedFault(at, _ways([victim], swarm.members[:-1]), [victim], left)


def bring_back(swarm: TestedSwarm, fault: InjectedFault) -> None:
    """The killed nodes play on, on hosts that can be reached again. What follows is the network's part."""
    swarm.lab.mend(victim.host for victim in fault.victims)
    swarm.restart(fault.victims)


# In this order they share one swarm: the last one cannot be undone.
CASES = (
    FaultCase("loss", 40.0, lose_packets, calm),
    FaultCase("partition", 30.0, part, heal),
    FaultCase("publisher", 30.0, lose_publisher, bring_back),
    FaultCase("half_killed", 30.0, kill_half, bring_back),
    FaultCase("bootstrap_gone", 20.0, lose_bootstrap, bring_back),
)


def _ways(some: Iterable[Member], others: Sequence[Member]) -> frozenset[tuple[str, str]]:
    """Both directions between each of `some` and each of `others`."""
    pairs = [(one.name, other.name) for one in some for other in others]
    return frozenset(pairs) | {(other, one) for one, other in pairs}
