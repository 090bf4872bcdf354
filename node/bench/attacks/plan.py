"""The plan of one attack, as the benchmark hands it to a hostile process. Plain data between two processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from policies.plain_files import parse_json
from swarm.wire.manifest import Manifest

# What a hostile process can do; `node.bench.attacks.hostile` has a function of each name.
CASES = (
    "dead_announcements",
    "slow_bodies",
    "silent_streams",
    "storage_flood",
    "eclipse",
    "dial_bomb",
    "outsiders",
    "hostile_bootstrap",
)
JOINED = "hostile_bootstrap"  # what counts there is the delivery to nodes that join through the attacker
DIALLED = "dial_bomb"  # what counts there are the connections that honest nodes open to VICTIM
VICTIM = "83.66.6.6"  # where nobody answers
PRIVATE = "outsiders"  # the swarm attacked there is private, and the attacker has no secret of it
LIARS = 5  # hostile bootstrap nodes


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """One attack on a running swarm, from one address."""

    case: str
    manifest: str  # encoded, in hex
    listen: str  # multiaddr
    folder: str  # for keys
    victims: Mapping[str, str]  # PeerID: multiaddr without it
    seed: int
    private: bool  # on the loopback: made-up addresses are of it too

    @property
    def swarm(self) -> Manifest:
        return Manifest.decode(bytes.fromhex(self.manifest))

    @property
    def bootstrap(self) -> tuple[str, ...]:
        return tuple(f"{address}/p2p/{peer}" for peer, address in self.victims.items())

    @property
    def address(self) -> str:
        """The host that it speaks from."""
        return self.listen.split("/")[2]

    def hostile_address(self, number: int) -> str:
        """Where the attacker's daemon of that number listens."""
        return f"{self.listen.rpartition('/')[0]}/{4001 + number}"

    def key(self, number: int) -> Path:
        return Path(self.folder) / f"mallory-{self.case}-{number}.key"

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> AttackPlan:
        return cls(**parse_json(text))
