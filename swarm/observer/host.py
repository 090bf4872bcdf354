"""A py-libp2p host that dials and listens nowhere: connections and one-question streams, each with a deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair as ed25519_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

from swarm.errors import FetchFailed
from swarm.observer.framing import Reader, T
from swarm.wire.identity import peer_bytes
from swarm.wire.multiaddr import Address

_CONNECT_TIMEOUT = 4.0  # seconds for one address
_ASK_TIMEOUT = 5.0  # seconds for one question and its answer
_CLOSE_TIMEOUT = 1.0
_MAX_CONNECTIONS = 256
# What a peer's doings end in. py-libp2p's own errors have one base; those of what it stands on have many.
_PEER_ERRORS = (
    BaseLibp2pError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    RuntimeError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


class Host:
    """Raises FetchFailed for every way in which a peer does not answer."""

    def __init__(self, host: IHost) -> None:
        self._host = host

    @classmethod
    @asynccontextmanager
    async def open(cls, seed: bytes) -> AsyncIterator[Host]:
        """A host named by the Ed25519 key of that 32-byte seed."""
        keys = ed25519_key_pair(seed)
        host = new_host(
            key_pair=keys,
            # Noise alone: py-libp2p's own choice includes plain text, which whoever sits between may pick.
            sec_opt={NOISE: NoiseTransport(keys, noise_privkey=x25519_key_pair().private_key)},
            # Otherwise it dials by itself whatever addresses strangers tell it, to keep 50 connections up.
            connection_config=ConnectionConfig(
                min_connections=0,
                low_watermark=0,
                high_watermark=_MAX_CONNECTIONS,
                max_connections=_MAX_CONNECTIONS,
                max_connections_per_peer=1,
            ),
            disable_identify_address_discovery=True,
        )
        async with host.run(listen_addrs=[]):
            yield cls(host)

    def connected(self, peer: str) -> bool:
        return bool(self._host.is_peer_connected(_id(peer)))

    async def connect(self, peer: str, addresses: Iterable[Address]) -> None:
        """Through the first address that works. Raises FetchFailed."""
        if self.connected(peer):
            return
        for address in addresses:
            # By address: py-libp2p's `connect` tries one address of a peer and then avoids it for a minute.
            with suppress(*_PEER_ERRORS), trio.move_on_after(_CONNECT_TIMEOUT):
                await self._host.get_network().dial_addr(Multiaddr(str(address)), _id(peer))
            if self.connected(peer):
                return
        raise FetchFailed("cannot be reached")

    async def ask(self, peer: str, protocol: str, request: bytes, read: Reader[T]) -> T:
        """What `read` makes of the answer to `request`, from a peer that is connected.

        Raises FetchFailed, and DecodeError for an answer that breaks a bound.
        """
        if not self.connected(peer):
            raise FetchFailed("cannot be reached")
        try:
            with trio.fail_after(_ASK_TIMEOUT):
                stream = await self._host.new_stream(_id(peer), [TProtocol(protocol)])
                try:
                    await stream.write(request)
                    return await read(stream)
                finally:
                    with trio.move_on_after(_CLOSE_TIMEOUT) as scope:
                        scope.shield = True
                        await stream.reset()
        except trio.TooSlowError as error:
            raise FetchFailed("no answer in time") from error
        except _PEER_ERRORS as error:
            raise FetchFailed(f"no answer: {type(error).__name__}") from error


def _id(peer: str) -> ID:
    return ID(peer_bytes(peer))
