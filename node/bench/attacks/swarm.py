"""The honest swarm of `murmur bench attacks`: real transports, daemons, gossip and verifiers; made-up rollouts.

A node publishes groups on a schedule in place of training, so that several fit on a few cores. Each has a host of its
own where this machine holds the network lab, else an address of the loopback.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from node.bench.attacks.plan import VICTIM
from node.bench.attacks.report import Delivery
from node.bench.kit.identities import keep_seeded_key
from node.bench.kit.options import BenchError
from node.bench.netlab.lab import Lab
from policies.rollout import Finish, Group, Rollout
from policies.seeds import derive_generator
from policies.tasks.embedded import FAMILIES
from policies.tasks.task import TaskSpec
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.tokenizer import build_tokenizer
from swarm.admission.peer_records import PeerRecords
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.admission.verdict import Verdict
from swarm.errors import TransportDown
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.manifest import Manifest
from swarm.wire.membership import member_key

SEED = 0
PORT = 4001
NODES = 6
START_SECONDS = 240.0
ROUND_SECONDS = 4.0  # from one publication of a node to its next
GROUPS, ROLLOUTS, TOKENS = 2, 4, 32  # of a publication
EPOCH_SECONDS = 60.0
_TASK = FAMILIES["sort"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node lives: an address, and what it is started inside of."""

    address: str
    inside: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def listen(self) -> str:
        return f"/ip4/{self.address}/tcp/{PORT}"


def place(lab: Lab | None, name: str, number: int) -> Place:
    """A host of the lab, or an address of the loopback without one."""
    if lab is None:
        return Place(f"127.0.{number}.1")
    host = lab.host(name)
    return Place(host.address, host.inside)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the honest transports have used and counted so far, all together."""

    at: float  # monotonic seconds
    cpu_seconds: float
    counters: Counter[str]

    def cores_since(self, before: Usage) -> float:
        return (self.cpu_seconds - before.cpu_seconds) / max(1e-9, self.at - before.at)

    def counted_since(self, before: Usage) -> dict[str, int]:
        """What was counted in between, by kind."""
        return dict(self.counters - before.counters)


@dataclass(slots=True)
class HonestNode:
    """One node and what it has published."""

    name: str
    place: Place
    transport: DhtTransport
    gossip: Gossip
    pool: ExternalPool
    records: PeerRecords
    due: float = 0.0  # Unix seconds of its next publication
    round: int = 0

    @property
    def peer(self) -> str:
        return self.transport.peer_id

    @property
    def dialled_at(self) -> str:
        return f"{self.place.listen}/p2p/{self.peer}"

    def publish(self, number: int) -> None:
        """GROUPS groups with something to learn from, as node `number` alone writes them."""
        self.round += 1
        first = 1_000_000 * number + GROUPS * self.round
        self.gossip.publish([_written(first + n) for n in range(GROUPS)], self.round, self.round, "bench")

    def received(self, honest: set[str]) -> list[Verdict]:
        """What passed since the last call, of honest peers; the pool is emptied as training would."""
        generator = derive_generator(SEED, "attacks", self.name, self.round)
        self.pool.draw(self.pool.settings.total, generator, time.time())
        return [v for v in self.gossip.drain().verdicts if v.checked and v.peer in honest]


@dataclass(slots=True)
class HonestSwarm:
    """Nodes that all share; closed by `close`, however it comes to that."""

    lab: Lab | None
    folder: Path
    secret: bytes = b""  # of a private swarm
    nodes: list[HonestNode] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    published: list[float] = field(default_factory=list)

    @property
    def manifest(self) -> Manifest:
        key = member_key(self.secret) if self.secret else b""
        return Manifest("bench-attacks", (TaskSpec("sort"),), EPOCH_SECONDS, member_key=key)

    def start(self, count: int) -> None:
        """Starts `count` nodes; returns when each has received something. Raises BenchError when that fails."""
        if self.lab:
            self.lab.wire.watch(VICTIM)
        for number in range(count):
            self.nodes.append(self._node(number))
            if number == 0:
                self._wait_ready(self.nodes[0])
        for node in self.nodes:
            self._wait_ready(node)
            node.gossip.start()
        deadline = time.monotonic() + START_SECONDS
        while {delivery.receiver for delivery in self.deliveries} != {node.name for node in self.nodes}:
            if time.monotonic() > deadline:
                raise BenchError(f"no delivery to every node in {START_SECONDS:g} s; see {self.folder}/*.log")
            self.live(1.0)

    def live(self, seconds: float) -> None:
        """Lets all nodes publish and receive for so long."""
        honest = {node.peer: node.name for node in self.nodes}
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, node in enumerate(self.nodes):
                now = time.time()
                if now >= node.due:
                    # Nodes take turns within a round; one that is late does not catch up.
                    node.due = (
                        now + ROUND_SECONDS if node.due else now + ROUND_SECONDS * number / len(self.nodes)
                    )
                    node.publish(number)
                    self.published.append(now)
                verdicts = node.received(set(honest))
                self.deliveries += [Delivery(now, node.name, honest[verdict.peer]) for verdict in verdicts]
            time.sleep(min(0.25, left))

    def rejoin(self, node: HonestNode, bootstrap: Sequence[str]) -> HonestNode:
        """Ends a node and starts it again with nobody but `bootstrap` to join through, and what it kept on disk."""
        number = self.nodes.index(node)
        node.gossip.close()
        node.transport.close()
        self.nodes[number] = self._node(number, bootstrap, node.place)
        self.nodes[number].records.restore(node.records.snapshot())
        self.nodes[number].round = node.round  # what it published before would be a replay
        self.nodes[number].gossip.start()
        return self.nodes[number]

    def join(self, bootstrap: Sequence[str]) -> HonestNode:
        """Starts one more node, which knows of nobody but `bootstrap`."""
        self.nodes.append(self._node(len(self.nodes), bootstrap))
        self.nodes[-1].gossip.start()
        return self.nodes[-1]

    def leave(self, node: HonestNode) -> None:
        node.gossip.close()
        node.transport.close()
        self.nodes.remove(node)

    def knocks(self) -> int | None:
        """Connections that honest nodes opened to VICTIM since the start; None where no lab can tell."""
        if self.lab is None:
            return None
        knocks = self.lab.wire.knocks(VICTIM)
        return sum(knocks[node.place.address] for node in self.nodes)

    def usage(self) -> Usage:
        counters = Counter[str]()
        for node in self.nodes:
            counters.update(node.transport.status().counters)
            counters.update({f"gossip_{kind}": count for kind, count in node.gossip.counters().items()})
        seconds = sum(node.transport.status().cpu_seconds for node in self.nodes)
        return Usage(time.monotonic(), seconds, counters)

    def close(self) -> None:
        for node in self.nodes:
            node.gossip.close()
        for node in self.nodes:
            node.transport.close()
        self.nodes.clear()

    def _node(
        self, number: int, bootstrap: Sequence[str] | None = None, where: Place | None = None
    ) -> HonestNode:
        name = f"node-{number + 1}"
        where = where or place(self.lab, name, number + 1)
        if bootstrap is None:
            bootstrap = (self.nodes[0].dialled_at,) if self.nodes else ()
        key = self.folder / f"{name}.key"
        keep_seeded_key(key, SEED, "attacks", name)
        settings = DhtSettings(
            self.manifest,
            tuple(bootstrap),
            listen=(where.listen,),
            client_mode=False,
            start_timeout=START_SECONDS,
            secret=self.secret,
            peer_cache=self.folder / f"{name}.peers",
            log=self.folder / f"{name}.log",
        )
        with where.inside():  # its threads, and thus its processes, stay there
            transport = DhtTransport(settings, key)
        encoding = Encoding(build_tokenizer(), PromptSettings(), TOKENS)
        verifier = RolloutVerifier(
            self.manifest.swarm_id,
            transport.peer_id,
            {_TASK.name: _TASK},
            encoding.completion,
            time.time,
            VerifierLimits(fit=encoding.fit),
        )
        pool = ExternalPool()
        generator = derive_generator(SEED, "attacks", "gossip", number)
        gossip = Gossip(transport, verifier, pool, time.time, generator, GossipSettings())
        return HonestNode(name, where, transport, gossip, pool, verifier.records)

    def _wait_ready(self, node: HonestNode) -> None:
        try:
            node.transport.wait_ready(START_SECONDS)
        except TransportDown as error:
            raise BenchError(
                f"{node.name} did not start: {error}; see {self.folder}/{node.name}.log"
            ) from None


def _written(seed: int) -> Group:
    """A scored group: one right answer, and wrong ones that nobody else writes."""
    problem = _TASK.problem(seed)
    texts = [problem.answer, *(f"{seed} is wrong {place}" for place in range(1, ROLLOUTS))]
    rollouts = (Rollout(text, (), Finish.STOP, _TASK.score(problem, text)) for text in texts)
    return Group(problem, tuple(rollouts))
