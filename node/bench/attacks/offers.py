"""Signed offers of bodies, honest or not: what a peer with a key can have fetched, checks of its own left out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack
import zstandard

from policies.rollout import Finish
from policies.seeds import derive_generator
from swarm.limits import MAX_LIFETIME
from swarm.wire.announcement import Announcement, Summary, epoch_of, shard_of
from swarm.wire.body import Body, SharedGroup, SharedRollout
from swarm.wire.body_codec import encode_body
from swarm.wire.identity import Identity

SWARM = "attacks"
NOW = 1_000_000.0  # Unix seconds of the measures' own clock
EPOCH_SECONDS = 300.0

Offer = tuple[Announcement, bytes]


@dataclass(slots=True)
class Sender:
    """A peer of the measures: a key, and the address that it says it is at."""

    address: str = "/ip4/45.10.7.1/tcp/4001"
    identity: Identity = field(default_factory=Identity.ephemeral)
    round: int = 0

    @classmethod
    def seeded(cls, address: str, seed: int, *purpose: str | int) -> Sender:
        """A peer whose key derives from the seed, so that equal seeds give equal runs."""
        return cls(address, Identity(derive_generator(seed, "bench", "attacks", *purpose).bytes(32)))

    @property
    def peer(self) -> str:
        return self.identity.peer_id

    def offer(self, groups: Sequence[SharedGroup], now: float = NOW) -> Offer:
        """A body of `groups` as the codec writes it. Raises ValueError over the size that peers take."""
        self.round += 1
        body = Body(SWARM, self.peer, "bench", 1, self.round, tuple(groups))
        return self.announce(encode_body(body), len(groups), body.rollouts, now), encode_body(body)

    def offer_bytes(self, content: bytes, *, level: int = 3) -> Offer:
        """A frame of whatever bytes; the announcement speaks of one group."""
        self.round += 1
        wire = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(content)
        return self.announce(wire, 1, 2), wire

    def begin(self) -> bytes:
        """A body's bytes before its groups."""
        fields = (1, SWARM, self.peer, "bench", 1, self.round + 1)
        return b"\x97" + b"".join(msgpack.packb(value) for value in fields)

    def announce(self, wire: bytes, groups: int, rollouts: int, now: float = NOW) -> Announcement:
        summary = Summary(self.round, 1, "bench", groups, rollouts, ())
        epoch = epoch_of(now, EPOCH_SECONDS)
        unsigned = Announcement(
            SWARM,
            epoch,
            0,
            shard_of(self.peer, epoch, 0),
            self.peer,
            now,
            now + MAX_LIFETIME,
            hashlib.sha256(wire).digest(),
            len(wire),
            summary,
            (self.address,),
        )
        return unsigned.sign(self.identity)


def group(task: str, seed: int, texts: Sequence[str], claim: float = 0.0) -> SharedGroup:
    """A group of texts with whatever reward they claim."""
    return SharedGroup(task, seed, tuple(SharedRollout(text, Finish.STOP, claim) for text in texts))
