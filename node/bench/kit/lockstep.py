"""Real nodes in one process and in lockstep: they meet over the in-memory transport, on a clock of their rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from node.bench.kit.identities import keep_seeded_key
from node.bench.kit.trained_node import no_progress
from node.config.schema import Config
from node.runtime.build import build_node
from node.runtime.loop import Node
from node.runtime.transports import gossip_settings
from node.storage.run_folder import RunFolder
from policies.seeds import derive_generator
from swarm.gossip.service import Gossip
from swarm.transport.base import Transport

ROUND_SECONDS = 60.0  # on the bench's clock
START = 1_000_000.0  # Unix seconds at which the bench's clock begins


@dataclass(slots=True)
class RoundClock:
    """The time of a population: it moves on by one round when all have played it."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self) -> None:
        self.now += ROUND_SECONDS


def build_lockstep_node(
    config: Config, path: Path, bench: str, join: Callable[[str], Transport], clock: Callable[[], float]
) -> Node:
    """A node whose gossip is stepped by its caller; `join` gives the transport of a PeerID.

    In a run, which bodies a node fetches and which comes first repeats in no other; here both follow the seed.
    """
    folder = RunFolder(path)
    config = folder.create(config)
    peer = keep_seeded_key(folder.identity(config), config.run_seed, bench)
    transport = join(peer)
    node = build_node(config, folder, transport, no_progress, clock)
    generator = derive_generator(config.run_seed, "gossip")
    usual = gossip_settings(config)
    one_by_one = replace(usual, parallel=1, brief=usual.patience)
    node.gossip = Gossip(transport, node.verifier, node.pool, clock, generator, one_by_one)
    return node
