"""The simulation run: a scenario from its first virtual second to its last."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeAlias

from policies.seeds import derive_generator, derive_seed
from policies.tasks.task import TaskSpec
from swarm.simulation.counters import Counters
from swarm.simulation.dht import Dht
from swarm.simulation.links import Links
from swarm.simulation.result import SimulationResult, summarise
from swarm.simulation.routing import Routing
from swarm.simulation.scenario import Partition, Scenario
from swarm.simulation.shared_filter import SharedFilter
from swarm.simulation.sim_node import SimNode, World
from swarm.simulation.virtual_clock import Process, VirtualClock
from swarm.wire.identity import Identity
from swarm.wire.manifest import Manifest

_START = 1_800_000_000.0  # Unix seconds: announcements are as long as real ones
_STEPS = 20  # progress lines
_SLOWEST = 0.3  # a node's rounds are shorter or longer than the scenario's by up to this share

Progress: TypeAlias = Callable[[str], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while a simulation ran; `result` holds what was counted before it."""

    def __init__(self, result: SimulationResult) -> None:
        super().__init__("interrupted")
        self.result = result


def simulate(scenario: Scenario, progress: Progress) -> SimulationResult:
    """Equal scenarios give equal outcomes. Raises Interrupted."""
    simulation = Simulation(scenario)
    try:
        for line in simulation.run():
            progress(line)
    except KeyboardInterrupt:
        raise Interrupted(simulation.result()) from None
    return simulation.result()


class Simulation:
    """A swarm of simulated nodes with its faults."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._draws = self._random("swarm")
        self._clock = VirtualClock(_START)
        self._world = self._make_world()
        self._alive: list[SimNode] = []
        self._born = 0

    @property
    def seconds(self) -> float:
        """Virtual seconds so far."""
        return self._clock.now - _START

    def result(self) -> SimulationResult:
        """What was counted so far."""
        servers = tuple(self._world.dht.servers.values())
        return summarise(self._scenario, self._world.counters, servers, self.seconds)

    def run(self) -> Iterator[str]:
        """Plays step by step, with a line on each."""
        yield from self._people()
        scenario, clock = self._scenario, self._clock
        if scenario.churn:
            clock.start(self._churn(60.0 / (scenario.churn * scenario.nodes)))
        if scenario.partition:
            clock.start(self._part(scenario.partition), _START + scenario.partition.start)
        clock.start(self._begin_counting(), _START + scenario.counted_from)
        for step in range(1, _STEPS + 1):
            clock.run_until(_START + scenario.seconds * step / _STEPS)
            rounds = len(self._world.counters.tallies)
            yield f"{self.seconds:.0f} of {scenario.seconds:.0f} s: {rounds} rounds counted, {clock.events} events"

    def _make_world(self) -> World:
        scenario, clock = self._scenario, self._clock
        manifest = Manifest("simulated", (TaskSpec("sort"),), scenario.epoch_seconds, scenario.depth)
        links = Links(scenario, self._random("links"))
        return World(
            scenario=scenario,
            clock=clock,
            links=links,
            dht=Dht(links, Routing(self._random("routing")), lambda: clock.now),
            shared_filter=SharedFilter(manifest, lambda: clock.now),
            counters=Counters(scenario, _START),
            draws=self._random("gossip"),
            choices=derive_generator(scenario.seed, "simulate", "choice"),
            swarm=manifest.swarm_id,
            body=bytes(scenario.body_size),
        )

    def _people(self) -> Iterator[str]:
        """The first nodes, at once; their first rounds begin one after the other."""
        scenario = self._scenario
        yield f"{scenario.nodes} nodes, {scenario.server_count} DHT servers, {2**scenario.depth} shards"
        for number in range(scenario.nodes):
            self._join(serves=number < scenario.server_count, within=scenario.round_seconds)

    def _join(self, *, serves: bool, within: float) -> None:
        """A new node, whose first round begins at some time `within` that many seconds."""
        world, number = self._world, self._born
        self._born += 1
        identity = Identity(derive_generator(self._scenario.seed, "simulate", "identity", number).bytes(32))
        host = world.links.settle(number, identity.peer_id)
        pace = self._scenario.round_seconds * self._draws.uniform(1.0 - _SLOWEST, 1.0 + _SLOWEST)
        node = world.nodes[host.peer] = SimNode(world, identity, host, pace)
        self._alive.append(node)
        if serves:
            world.dht.serve(host)
        self._clock.start(node.play(), self._clock.now + self._draws.uniform(0.0, within))
        if self._scenario.depth:
            self._clock.start(node.stay_present())

    def _leave(self, node: SimNode) -> None:
        """Without a word: what it announced stays where it is until it expires."""
        node.host.alive = False
        del self._world.nodes[node.host.peer]
        self._world.dht.leave(node.host)
        self._world.counters.exposure.leave(node.host)

    def _churn(self, mean_gap: float) -> Process:
        """At random times one node leaves and another joins in its stead, as a DHT server if the first was one."""
        while True:
            yield self._draws.expovariate(1.0 / mean_gap)
            place = self._draws.randrange(len(self._alive))
            self._alive[place], self._alive[-1] = self._alive[-1], self._alive[place]
            leaving = self._alive.pop()
            serves = self._world.dht.is_server(leaving.host)
            self._leave(leaving)
            self._join(serves=serves, within=0.0)

    def _part(self, partition: Partition) -> Process:
        self._world.links.parted = True
        yield partition.end - partition.start
        self._world.links.parted = False

    def _begin_counting(self) -> Process:
        self._world.counters.exposure.restart()
        self._world.dht.forget_loads()
        yield 0.0

    def _random(self, purpose: str) -> random.Random:
        return random.Random(derive_seed(self._scenario.seed, "simulate", purpose))
