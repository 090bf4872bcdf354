"""Keys of benchmark nodes: they derive from the seed, so that equal seeds give equal names and equal runs."""

from __future__ import annotations

from pathlib import Path

from policies.seeds import derive_generator
from swarm.wire.identity import Identity


def keep_seeded_key(path: Path, seed: int, *purpose: str | int) -> str:
    """Writes the key file of the node that `purpose` names; returns its PeerID. Raises IdentityError.

    Such keys are no secret: they are for swarms on this machine alone.
    """
    identity = Identity(derive_generator(seed, "bench", "identity", *purpose).bytes(32))
    identity.save(path)
    return identity.peer_id
