"""The mDNS client finds peers of the same swarm on the same local network, without bootstrap or configuration.

This side starts the process that speaks mDNS (`mdns.py`) and reads what it finds. Whoever is on the network may
claim anything there, so only private addresses count, and a peer is who its key says once it is dialled.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from policies.plain_files import parse_json
from swarm.errors import DecodeError, TransportDown
from swarm.limits import MAX_ADDRESSES
from swarm.process import LastWords, close_and_wait
from swarm.wire.fields import printable
from swarm.wire.multiaddr import Address, parse_known

log = logging.getLogger(__name__)

MAX_LINE = 4096  # bytes: a peer with a few addresses
_MAX_NEIGHBOURS = 64
_END_TIMEOUT = 5.0  # seconds to say goodbye on the network
_MAX_WORDS = 500  # bytes of a line on stderr


class MdnsClient:
    """One process that speaks mDNS, and the peers that it has heard of."""

    def __init__(self, swarm: str, listening: Sequence[Address]) -> None:
        """Announces on the local network that this node, of the swarm with that id, listens at `listening`, each with
        its PeerID; only private addresses are announced. Raises TransportDown when the process cannot be started.
        """
        self._own = {a.peer for a in listening}
        self._found: dict[str, tuple[Address, ...]] = {}
        self._closed = False
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "swarm.discovery.mdns"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise TransportDown(f"cannot start looking for neighbours: {error.strerror}") from error
        assert self._process.stdin
        with suppress(OSError):  # it has ended: there are no neighbours
            self._process.stdin.write(orders(swarm, listening))
            self._process.stdin.flush()
        assert self._process.stderr
        self._last_words = LastWords(self._process.stderr, "mdns errors", _MAX_WORDS)
        self._listener = threading.Thread(target=self._listen, name="mdns", daemon=True)
        self._listener.start()

    @property
    def found(self) -> tuple[Address, ...]:
        """Where peers say they listen, each address with its PeerID."""
        return tuple(address for addresses in list(self._found.values()) for address in addresses)

    @property
    def running(self) -> bool:
        """False where mDNS cannot be spoken: py-libp2p is missing, or the machine has no such network."""
        return self._process.poll() is None

    def close(self) -> None:
        """Says goodbye to the network and returns once the process is gone."""
        self._closed = True
        close_and_wait(self._process, _END_TIMEOUT)

    def _listen(self) -> None:
        assert self._process.stdout
        with self._process.stdout as output:
            while line := output.readline(MAX_LINE):
                with suppress(DecodeError):  # noise of strangers on the network
                    self._meet(parse(line))
        reason = printable(self._last_words.awaited(_END_TIMEOUT))
        if not self._closed:
            log.warning("LAN discovery is off, the rest goes on: %s", reason)

    def _meet(self, addresses: Sequence[Address]) -> None:
        peers = {a.peer for a in addresses} - self._own
        for peer in peers:
            if peer and (peer in self._found or len(self._found) < _MAX_NEIGHBOURS):
                self._found[peer] = tuple(a for a in addresses if a.peer == peer)


def orders(swarm: str, listening: Sequence[Address]) -> bytes:
    """The orders for the process, in one line."""
    return json.dumps([swarm, [str(a) for a in listening if is_local(a)]]).encode() + b"\n"


def parse(line: bytes) -> tuple[Address, ...]:
    """The usable addresses, each with its PeerID, in `[peer, [multiaddr...]]`. Raises DecodeError."""
    try:
        peer, texts = parse_json(line)
        whole = [f"{text}/p2p/{peer}" for text in texts[:MAX_ADDRESSES] if "/p2p/" not in text]
    except (ValueError, TypeError, KeyError) as error:
        raise DecodeError("not a line about a neighbour") from error
    return tuple(a for a in parse_known(whole) if is_local(a))


def is_local(address: Address) -> bool:
    """Whether it can lie on the own network: strangers there do not choose hosts elsewhere, nor on this machine."""
    return bool(address.port) and not (
        address.family.startswith("dns") or address.is_global or address.is_loopback
    )
