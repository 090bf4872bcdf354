"""Look-ups in libp2p's own DHT of where a peer listens: hivemind answers with PeerIDs alone."""

from __future__ import annotations

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from swarm.limits import MAX_ADDRESS
from swarm.observer import protobuf
from swarm.wire.multiaddr import Address, parse_known

PROTOCOL = "/ipfs/kad/1.0.0"
MAX_ANSWER = 64 * 1024  # 20 peers with a few addresses take 5 kB

_FIND_NODE = 4  # Message.type
_MAX_PEERS = 32
_MAX_ADDRESSES = 32  # of one peer


def find_request(peer: bytes) -> bytes:
    """Asks where the peer with that raw PeerID listens."""
    return protobuf.delimited(b"\x08" + protobuf.varint(_FIND_NODE) + protobuf.field(2, peer))


def find_answer(message: bytes, peer: bytes) -> tuple[Address, ...]:
    """Where the answering node says `peer` listens, as far as this version can dial it. Raises DecodeError."""
    for entry in protobuf.values(message, 8, most=_MAX_PEERS + 8):
        parts = list(protobuf.read(entry, most=_MAX_ADDRESSES + 4))
        if (1, peer) in parts:
            texts = [_text(part) for number, part in parts if number == 2 and isinstance(part, bytes)]
            return tuple(a.without_peer() for a in parse_known(texts) if a.port)
    return ()


def _text(raw: bytes) -> str:
    """An empty text for bytes that are no multiaddr."""
    try:
        return str(Multiaddr(raw)) if len(raw) <= MAX_ADDRESS else ""
    except (MultiaddrError, ValueError):
        return ""
