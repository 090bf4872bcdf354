"""The observer client starts the observer's process, asks it for surveys of a swarm and ends it.

This side imports neither libp2p nor hivemind. Nothing that the process or the network does holds a caller longer
than the given time.
"""

from __future__ import annotations

import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from swarm.errors import DecodeError, TransportDown
from swarm.exchange.peer_stats import NodeStats
from swarm.observer.ipc import MAX_LINE, Done, Down, Figures, Offer, Orders, Report, Silent, decode
from swarm.process import LastWords, close_and_wait
from swarm.wire.announcement import Announcement
from swarm.wire.fields import printable
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite
from swarm.wire.membership import Membership

# py-libp2p takes 2 s to import on an idle core and 20 s on a busy one; a look itself ends within 32 s.
_LOOK_TIMEOUT = 60.0
_MAX_REPORTS = 1024  # lines of one look; the observer writes at most 512 and one
_END_TIMEOUT = 2.0
_MAX_WORDS = 300  # bytes of the process's last words


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw."""

    announcements: tuple[Announcement, ...]  # newest first, all verified
    stats: Mapping[str, NodeStats]  # by PeerID, of those who answered: their own claims
    silent: Mapping[str, str]  # by PeerID, of those who did not: why
    nodes: int  # DHT nodes that answered
    refused: Mapping[str, int]  # announcements that did not count, by reason, since the first look
    resident: int  # bytes of memory of the observer's process


class Observer:
    """Looks at the swarm of an invite: no lasting name, no part of the DHT, nothing published, no open port."""

    def __init__(self, invite: Invite) -> None:
        """Starts the process, which ends with the calling thread at the latest. Raises TransportDown, InviteError."""
        # A peer's membership token for a private swarm is bound to its PeerID, hence the key from this side.
        seed = secrets.token_bytes(32)
        own = Membership.of(invite.manifest, invite.secret, Identity(seed).peer_id)
        orders = Orders(invite.manifest, invite.bootstrap, seed=seed, token=own.token)
        self._reports: queue.Queue[Report | None] = queue.Queue(_MAX_REPORTS)
        self._end = ""  # why the process is gone
        try:
            self._process = _spawn()
        except OSError as error:
            raise TransportDown(f"cannot start the observer: {error.strerror}") from error
        assert self._process.stderr
        self._last_words = LastWords(self._process.stderr, "observer errors", _MAX_WORDS)
        threading.Thread(target=self._listen, name="observer", daemon=True).start()
        self._send(orders.encode())

    def look(self, timeout: float = _LOOK_TIMEOUT) -> Look:
        """One look, within `timeout` seconds. Raises TransportDown with the cause."""
        deadline = time.monotonic() + timeout
        self._send("")
        announcements, stats, silent = [], {}, {}
        while True:
            match self._next(deadline, timeout):
                case Offer(raw):
                    announcements.append(Announcement.decode(raw))
                case Figures(peer, raw):
                    stats[peer] = NodeStats.decode(raw)
                case Silent(peer, why):
                    silent[peer] = printable(why)
                case Down(why):
                    raise TransportDown(why)
                case Done(nodes, refused, resident):
                    return Look(tuple(announcements), stats, silent, nodes, refused, resident)

    def close(self) -> None:
        """Returns once the process is gone."""
        close_and_wait(self._process, _END_TIMEOUT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _send(self, line: str) -> None:
        assert self._process.stdin
        with suppress(OSError):  # a process that has ended: the next report says so
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _next(self, deadline: float, timeout: float) -> Report:
        try:
            report = self._reports.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            self._process.kill()  # a late answer must not pass for that of the next look
            raise TransportDown(f"the observer saw no swarm within {timeout:g} s") from None
        if report is None:
            self._reports.put(None)
            raise TransportDown(f"the observer ended: {self._end}")
        return report

    def _listen(self) -> None:
        """Hands on the process's reports; ends it at a line that is none."""
        assert self._process.stdout
        fault = ""
        with self._process.stdout as output:
            try:
                while line := output.readline(MAX_LINE):
                    self._reports.put(decode(line))
            except DecodeError as error:
                fault = str(error)
                self._process.kill()
        self._end = fault or printable(self._last_words.awaited(_END_TIMEOUT))
        self._reports.put(None)


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "swarm.observer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the command, which then closes its observer in order
    )
