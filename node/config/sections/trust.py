"""The `[trust]` section: whom a node takes groups from."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from policies.settings import Settings
from swarm.errors import DecodeError
from swarm.wire.identity import peer_bytes


def _peer(text: str) -> str:
    try:
        peer_bytes(text)
    except DecodeError:
        raise ValueError("not a PeerID: it looks like 12D3KooW..., as `murmur peers` shows it") from None
    return text


PeerName = Annotated[str, AfterValidator(_peer)]


class TrustConfig(Settings):
    """Whom this node takes groups from, beside what each peer's record says."""

    allow: tuple[PeerName, ...] = ()
    """PeerIDs that always count as known: four fifths of the places for peers' groups are for such."""
    deny: tuple[PeerName, ...] = ()
    """PeerIDs that nothing is fetched from."""
    sandbox: bool = False
    """Take part in a swarm whose invite names tasks that are scored in the sandbox: there a library's own scorer may
    evaluate what a stranger wrote, in a process without files and network. Tasks of the own config need no word."""
