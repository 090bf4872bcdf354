"""The peer cache keeps on disk where peers listened last: the way back when all bootstrap peers are gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from policies.drafts import draft_file
from policies.error_words import brief
from policies.plain_files import require_plain
from swarm.wire.multiaddr import Address, parse_known

log = logging.getLogger(__name__)

MAX_CACHED = 32
_FOR_OTHERS = 8  # places that known peers leave to those that gave nothing yet
_BORDER = "# those above gave something good"
_MAX_BYTES = 16 * 1024


class PeerCache:
    """A text file of multiaddrs, one a line, newest first: known peers, and below a border others.

    Known ones never make room for others, however many announce themselves. A damaged or missing file is an empty
    cache.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known, self._others = self._read()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Each ends in /p2p/<PeerID>; those of known peers first."""
        return (*self._known, *self._others)

    def remember(self, known: Sequence[Address], others: Sequence[Address] = ()) -> None:
        """Puts who was met in front of what was there; the oldest beyond the bounds go. Writes only what is news."""
        merged = _newest(known, self._known)[: MAX_CACHED - _FOR_OTHERS]
        peers = {a.peer for a in merged}
        rest = [a for a in _newest(others, self._others) if a.peer not in peers][: MAX_CACHED - len(merged)]
        if set(merged) == set(self._known) and set(rest) == set(self._others):
            return
        self._known, self._others = tuple(merged), tuple(rest)
        lines = [*map(str, self._known), _BORDER, *map(str, self._others)]
        try:
            with draft_file(self._path, 0o666) as (draft, _):
                draft.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
                draft.replace(self._path)
        except OSError as error:  # a full disk: the swarm goes on without the way back
            log.warning("cannot write the peer cache %s: %s", self._path, error.strerror)
        with suppress(OSError):  # what a killed writer of earlier versions left
            self._path.with_name(f".{self._path.name}.partial").unlink(missing_ok=True)

    def _read(self) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
        try:
            require_plain(self._path)
            with self._path.open("rb") as file:
                text = file.read(_MAX_BYTES).decode("ascii", errors="replace")
        except FileNotFoundError:
            return (), ()
        except OSError as error:
            log.warning("cannot read the peer cache %s: %s", self._path, brief(error))
            return (), ()
        known, _, others = text.partition(_BORDER)
        return _parsed(known), _parsed(others)


def _newest(met: Sequence[Address], before: Sequence[Address]) -> list[Address]:
    """One address a peer, those of `met` first."""
    by_peer: dict[str, Address] = {}
    for address in (*met, *before):
        if address.peer:
            by_peer.setdefault(address.peer, address)
    return list(by_peer.values())


def _parsed(text: str) -> tuple[Address, ...]:
    return tuple(a for a in parse_known(text.split()) if a.peer and a.port)[:MAX_CACHED]
