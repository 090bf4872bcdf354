"""The `[swarm]` section: whom a node shares with, how others reach it, and how much it gives."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator

from node.config.sections.variant import type_or
from policies.settings import Settings
from swarm.errors import InviteError
from swarm.limits import MAX_SHARD_DEPTH, MAX_SHARED_ROWS
from swarm.wire.manifest import MAX_EPOCH, MIN_EPOCH
from swarm.wire.multiaddr import Address

MB = 1e6  # bytes: what budgets of traffic count in


class SiloConfig(Settings):
    """No swarm: the node trains alone."""

    type: Literal["silo"] = "silo"
    """Isolated: no socket is opened, nothing is shared."""


class TrafficConfig(Settings):
    """Budgets of a node's exchange with others. Announcements and DHT upkeep, a few kB/s, come on top."""

    upload: float = Field(default=20.0, gt=0)
    """MB a second that all peers together get of this node's bodies."""
    upload_peer: float = Field(default=4.0, gt=0)
    """MB a second that one peer gets."""
    download: float = Field(default=20.0, gt=0)
    """MB a second that this node fetches."""
    slots: int = Field(default=16, ge=1)
    """Bodies that are served at once."""
    stored: float = Field(default=64.0, gt=0)
    """MB of memory for own bodies and copies of fetched ones."""
    rows: float = Field(default=64.0, ge=0, le=MAX_SHARED_ROWS / 2**20)
    """MiB of rows that a data task may share, and that this node takes of one. 0: take none."""
    mirrored: float = Field(default=32.0, ge=0)
    """MB of memory for bodies of peers that others cannot dial. 0: keep none."""


class DhtConfig(Settings):
    """A swarm over a Hivemind DHT: where to join it, how others reach this node, and how gossip is paced."""

    type: Literal["dht"] = "dht"
    """Share rollouts over a Hivemind DHT."""
    name: str = "murmuration"
    """Name of the swarm. With the task list it makes the swarm id: only equal ones meet."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs ending in /p2p/<PeerID> of peers to join through. Empty starts a swarm of one's own."""
    listen: tuple[str, ...] = Field(default=("/ip4/0.0.0.0/tcp/0",), min_length=1)
    """Multiaddrs to listen on. Port 0 lets the system choose. Add /ip6/::/tcp/0 for IPv6."""
    announce: tuple[str, ...] = ()
    """Multiaddrs that others should dial instead, behind a port forward."""
    client_mode: bool | Literal["auto"] = "auto"
    """Nodes that others cannot dial use the DHT without serving it and leave their bodies with mirrors. auto: as
    peers find when they dial this node back."""
    lan: bool = False
    """Find nodes of the same swarm on the local network by mDNS, and be found there."""
    relay: bool = False
    """Carry the traffic of nodes behind NATs, up to 4 GiB a circuit. For bootstraps on a good line."""
    epoch_seconds: float = Field(default=60.0, ge=MIN_EPOCH, le=MAX_EPOCH)
    """Length of a gossip epoch. Part of the swarm id."""
    shard_depth: int = Field(default=0, ge=0, le=MAX_SHARD_DEPTH)
    """log2 of the shards of announcements: 0 up to 40 nodes, then log2(nodes / 24). Part of the swarm id."""
    member_key: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """Public key of a private swarm, in hex; its invite brings it. Part of the swarm id."""
    poll_seconds: float = Field(default=5.0, gt=0)
    """Pause between two looks for new announcements."""
    join_seconds: float = Field(default=60.0, ge=0)
    """Longest wait at the start for the daemon to join; after it the run begins alone and joins when it can."""
    traffic: TrafficConfig = TrafficConfig()
    """How much this node gives to others and takes from them."""

    @field_validator("bootstrap", "listen", "announce")
    @classmethod
    def _are_addresses(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for text in texts:
                Address.parse(text)
        except InviteError as error:
            raise ValueError(str(error)) from None
        return texts


SwarmConfig = Annotated[Annotated[SiloConfig, Tag("silo")] | Annotated[DhtConfig, Tag("dht")], type_or("dht")]
