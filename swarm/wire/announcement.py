"""The announcement: a small signed entry that says who offers which body. Self-certifying.

Its signature covers the body's digest, so whoever holds an announcement can check a body from any source.
On the wire: 64 bytes of signature, then one canonical msgpack array.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from policies.rollout import Group
from swarm import limits
from swarm.errors import DecodeError, InviteError
from swarm.wire import extensions, fields
from swarm.wire.extensions import Extensions
from swarm.wire.identity import PEER_ID_SIZE, Identity, peer_bytes, peer_text, verify
from swarm.wire.multiaddr import Address

# Keeps a signature on an announcement from standing for anything else. Changing breaks: every signature.
_DOMAIN = b"murmur-announcement-2\0"
_SIGNATURE_SIZE = 64
_MAX_SWARM_ID = 32
_FIELDS = 19


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What a body holds of one task. The sender's claims: for choosing what to fetch, never for training."""

    task: str
    rollouts: int
    mean_reward: float  # in [0, 1]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a publisher says about a body."""

    round: int
    policy_version: int
    fingerprint: str  # printable ASCII
    groups: int
    rollouts: int
    tasks: tuple[TaskSummary, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    """One peer's offer of one body. `decode` and `sign` only ever give values within `swarm.limits`."""

    swarm: str  # swarm id
    epoch: int
    depth: int  # log2 of the number of shards
    shard: int
    peer: str  # base58 PeerID of publisher and signer
    created: float  # Unix seconds
    expires: float  # Unix seconds
    digest: bytes  # SHA-256 of the body
    size: int  # bytes of the body
    summary: Summary
    # Multiaddrs that spare the fetcher a look-up: the publisher's own, without /p2p, and those of mirrors that
    # keep the body for a publisher whom others cannot dial, each ending in /p2p/<mirror>.
    addresses: tuple[str, ...]
    token: bytes = b""  # the publisher's proof of membership, in a private swarm
    extensions: Extensions = ()  # kept as they came, since they are signed
    signature: bytes = b""

    @property
    def own_addresses(self) -> tuple[str, ...]:
        return tuple(text for text in self.addresses if "/p2p/" not in text)

    @property
    def host(self) -> str:
        """Where its body is said to be: the first address's host, the own or a mirror's; empty without any."""
        return Address.parse(self.addresses[0]).host if self.addresses else ""

    @property
    def mirrors(self) -> dict[str, str]:
        """The PeerID of each mirror, with its address."""
        parted = (text.rpartition("/p2p/") for text in self.addresses if "/p2p/" in text)
        return {peer: address for address, _, peer in parted}

    def sign(self, identity: Identity) -> Announcement:
        """A signed copy. Raises DecodeError when others would refuse it."""
        signed = replace(self, signature=identity.sign(_DOMAIN + self._body()))
        return Announcement.decode(signed.encode())

    def verify_signature(self) -> bool:
        """Whether `peer` signed exactly these fields."""
        return verify(self.peer, _DOMAIN + self._body(), self.signature)

    def encode(self) -> bytes:
        return self.signature + self._body()

    @classmethod
    def decode(cls, raw: bytes) -> Announcement:
        """Checks form and bounds, not the signature. Raises DecodeError."""
        if not _SIGNATURE_SIZE < len(raw) <= limits.MAX_ANNOUNCEMENT:
            fields.refuse(f"announcement of {len(raw)} bytes")
        signature, body = raw[:_SIGNATURE_SIZE], raw[_SIGNATURE_SIZE:]
        announcement = _from_values(fields.unpack(body), signature)
        if announcement._body() != body:
            fields.refuse("announcement is not in canonical form")
        return announcement

    def _body(self) -> bytes:
        s = self.summary
        tasks = [[t.task, t.rollouts, float(t.mean_reward)] for t in s.tasks]
        values = [
            limits.PROTOCOL_VERSION,
            self.swarm,
            self.epoch,
            self.depth,
            self.shard,
            peer_bytes(self.peer),
        ]
        values += [
            float(self.created),
            float(self.expires),
            self.digest,
            self.size,
            s.round,
            s.policy_version,
        ]
        values += [s.fingerprint, s.groups, s.rollouts, tasks, list(self.addresses), self.token]
        values.append(extensions.encode(self.extensions))
        packed: bytes = msgpack.packb(values)
        return packed


def epoch_of(now: float, epoch_seconds: float) -> int:
    """The number of the epoch that Unix time `now` falls in."""
    return int(now // epoch_seconds)


def shard_of(peer: str, epoch: int, depth: int) -> int:
    """The only shard of `epoch` that `peer` may announce in: nobody chooses it, and it moves every epoch."""
    digest = hashlib.sha256(b"murmur-shard-1\0" + epoch.to_bytes(8, "big") + peer_bytes(peer)).digest()
    return int.from_bytes(digest[:4], "big") >> (32 - depth)


def shard_key(swarm: str, epoch: int, depth: int, shard: int) -> str:
    """The DHT key under which a shard's announcements lie, one sub-key a peer."""
    return f"murmur/{limits.PROTOCOL_VERSION}/{swarm}/{epoch}/{depth}/{shard}"


def summarise(groups: Sequence[Group], round: int, policy_version: int, fingerprint: str) -> Summary:
    """What to announce about scored `groups`; of many tasks, the MAX_TASKS_ANNOUNCED with most rollouts.

    Raises ValueError when a rollout is unscored.
    """
    rewards: defaultdict[str, list[float]] = defaultdict(list)
    for group in groups:
        rewards[group.problem.task].extend(group.rewards)
    tasks = [TaskSummary(task, len(r), math.fsum(r) / len(r)) for task, r in rewards.items() if r]
    tasks.sort(key=lambda t: (-t.rollouts, t.task))
    return Summary(
        round=round,
        policy_version=policy_version,
        fingerprint=fields.printable(fingerprint)[: limits.MAX_FINGERPRINT],
        groups=len(groups),
        rollouts=sum(map(len, rewards.values())),
        tasks=tuple(tasks[: limits.MAX_TASKS_ANNOUNCED]),
    )


def _from_values(values: Any, signature: bytes) -> Announcement:
    fields.check_version(fields.items(values, 64, "announcement", least=1)[0], "the announcing node")
    fields.items(values, _FIELDS, "number of fields", least=_FIELDS)
    _, swarm, epoch, depth, shard, peer, created, expires, digest, size, *summary, addresses, token, more = (
        values
    )
    depth = fields.integer(depth, limits.MAX_SHARD_DEPTH, "shard depth")
    return Announcement(
        swarm=fields.text(swarm, _MAX_SWARM_ID, "swarm id"),
        epoch=fields.integer(epoch, fields.MAX_COUNT, "epoch"),
        depth=depth,
        shard=fields.integer(shard, 2**depth - 1, "shard"),
        peer=peer_text(fields.raw(peer, PEER_ID_SIZE, "peer")),
        created=fields.number(created, 0.0, fields.MAX_COUNT, "creation time"),
        expires=fields.number(expires, 0.0, fields.MAX_COUNT, "expiry"),
        digest=fields.raw(digest, 32, "digest"),
        size=fields.integer(size, limits.MAX_BODY, "body size", low=1),
        summary=_summary(summary),
        addresses=tuple(_address(a) for a in fields.items(addresses, limits.MAX_ADDRESSES, "addresses")),
        token=b"" if token == b"" else fields.raw(token, limits.TOKEN_SIZE, "membership token"),
        extensions=extensions.decode(more, "announcement"),
        signature=signature,
    )


def _summary(values: list[Any]) -> Summary:
    round, policy_version, fingerprint, groups, rollouts, tasks = values
    return Summary(
        round=fields.integer(round, fields.MAX_COUNT, "round"),
        policy_version=fields.integer(policy_version, fields.MAX_COUNT, "policy version"),
        fingerprint=fields.text(fingerprint, limits.MAX_FINGERPRINT, "fingerprint"),
        groups=fields.integer(groups, limits.MAX_GROUPS, "number of groups"),
        rollouts=fields.integer(rollouts, limits.MAX_GROUPS * limits.MAX_ROLLOUTS, "number of rollouts"),
        tasks=tuple(_task(t) for t in fields.items(tasks, limits.MAX_TASKS_ANNOUNCED, "tasks")),
    )


def _task(values: Any) -> TaskSummary:
    task, rollouts, mean_reward = fields.items(values, 3, "task", least=3)
    return TaskSummary(
        task=fields.task_name(task, "task name"),
        rollouts=fields.integer(rollouts, limits.MAX_GROUPS * limits.MAX_ROLLOUTS, "number of rollouts"),
        mean_reward=fields.number(mean_reward, 0.0, 1.0, "mean reward"),
    )


def _address(value: Any) -> str:
    text = fields.text(value, limits.MAX_ADDRESS, "address")
    try:
        address = Address.parse(text)
    except InviteError as error:
        raise DecodeError("announcement: address of an unknown form") from error
    if address.port == 0:
        fields.refuse("address without a port")
    if not address.is_literal:
        fields.refuse("address by name, or with an IPv4 address inside: checked as one, dialled as another")
    return text
