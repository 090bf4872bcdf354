"""The peer cache keeps on disk where peers listened last: the way back when all bootstrap peers are gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from swarm.wire.multiaddr import Address, parse_known

log = logging.getLogger(__name__)

MAX_CACHED = 32
_MAX_BYTES = 16 * 1024


class PeerCache:
    """A text file of multiaddrs, one a line, newest first. A damaged or missing file is an empty cache."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._read()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Each ends in /p2p/<PeerID>."""
        return self._known

    def remember(self, met: Sequence[Address]) -> None:
        """Puts `met` in front of what is known; the oldest beyond MAX_CACHED go. Writes only what is news."""
        newest = tuple(a for a in met if a.peer)
        older = (a for a in self._known if a.peer not in {n.peer for n in newest})
        known = (*newest, *older)[:MAX_CACHED]
        if set(known) == set(self._known):
            return
        self._known = known
        partial = self._path.with_name(f".{self._path.name}.partial")
        try:
            partial.write_text("".join(f"{address}\n" for address in known), encoding="ascii")
            partial.replace(self._path)
        except OSError as error:  # a full disk: the swarm goes on without the way back
            log.warning("cannot write the peer cache %s: %s", self._path, error.strerror)
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _read(self) -> tuple[Address, ...]:
        try:
            with self._path.open("rb") as file:
                text = file.read(_MAX_BYTES).decode("ascii", errors="replace")
        except FileNotFoundError:
            return ()
        except OSError as error:
            log.warning("cannot read the peer cache %s: %s", self._path, error.strerror)
            return ()
        return tuple(a for a in parse_known(text.split()) if a.peer and a.port)[:MAX_CACHED]
