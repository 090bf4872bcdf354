"""The real transport: a Hivemind DHT and libp2p streams, run by a process of its own (`swarm.network`).

This side never imports hivemind. A thread keeps the process alive; meanwhile calls raise TransportDown.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from policies.error_words import brief
from swarm.errors import TransportDown
from swarm.exchange.autonat import Reachability
from swarm.exchange.told_refusals import NO_REFUSALS
from swarm.limits import MAX_BODY
from swarm.network.ipc import SHUT_OUT, STARTING
from swarm.network.ipc import DhtSettings as DhtSettings
from swarm.process import BackOff
from swarm.rows.rows_fetch import Wanted
from swarm.transport.base import TransportStatus
from swarm.transport.ipc_client import IpcClient
from swarm.transport.listen_ports import refuse_taken_ports
from swarm.wire.announcement import Announcement, Summary
from swarm.wire.identity import Identity
from swarm.wire.membership import Membership

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 15.0
_MOST_STILLBORN = 5  # processes that ended at their start, until nobody waits for the next any more


class DhtTransport:
    """Implements `swarm.transport.Transport`. Starts in the background; see `wait_ready`."""

    def __init__(self, settings: DhtSettings, identity_path: Path | None = None) -> None:
        """`identity_path` is the node's key file; None for an observer with a throw-away name.

        Raises IdentityError, InviteError without the secret of a private swarm, and TransportDown for a listen
        address that another program has.
        """
        refuse_taken_ports(settings.listen)
        self._folder = tempfile.TemporaryDirectory(prefix="murmur-") if identity_path is None else None
        key = identity_path or Path(self._folder.name if self._folder else "") / "key"
        self.peer_id = Identity.load_or_create(key).peer_id
        # A wrong secret is refused here, and not by a process that dies of it.
        Membership.of(settings.manifest, settings.secret, self.peer_id)
        self._settings = settings
        self._key = key
        self._changed = threading.Condition()
        self._status = _down(STARTING)
        self._client: IpcClient | None = None
        self._latest: tuple[bytes, Summary] | None = None
        self._earlier_cpu = self._reaped_cpu = 0.0  # seconds of processes that ended: as told, as reaped
        self._spoke = False  # the process
        self._stillborn = 0  # processes in a row that ended before they said anything
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_alive, name="transport", daemon=True)
        self._keeper.start()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Returns once the swarm is joined. Raises TransportDown with the cause after `timeout` seconds
        (default: the settings' start_timeout), and at once where none lets this node in; joining goes on in the
        background.
        """
        timeout = self._settings.start_timeout if timeout is None else timeout
        with self._changed:
            if not self._changed.wait_for(self._is_decided, timeout):
                raise TransportDown(f"not in the swarm after {timeout:g} s: {_cause(self._status.detail)}")
            if not self._status.healthy:
                raise TransportDown(
                    "the transport is closed" if self._closing.is_set() else self._status.detail
                )

    def _is_decided(self) -> bool:
        status = self._status
        hopeless = status.detail.endswith(SHUT_OUT) or self._stillborn >= _MOST_STILLBORN
        return status.healthy or hopeless or self._closing.is_set()

    def publish(self, body: bytes, summary: Summary) -> Announcement:
        if not 0 < len(body) <= MAX_BODY:
            raise ValueError(f"body of {len(body)} bytes; 1 to {MAX_BODY}")
        self._latest = body, summary  # a process that is started later announces it
        return Announcement.decode(self._call("publish", body, astuple(summary)))

    def announcements(
        self, want: int, declined: Sequence[Announcement] = (), known: Sequence[str] = ()
    ) -> Sequence[Announcement]:
        unwanted = [a.encode() for a in declined]
        found = self._call("announcements", want, unwanted, list(known))
        return [Announcement.decode(raw) for raw in found]

    def fetch(self, announcement: Announcement, refused: Mapping[str, int] = NO_REFUSALS) -> bytes:
        told = [dict(refused)] if refused else []
        body: bytes = self._call("fetch", announcement.encode(), *told)
        return body

    def rows(self, wanted: Wanted) -> bytes:
        """A piece of shared rows from any member, checked by its digest. Raises FetchFailed, TransportDown."""
        piece: bytes = self._call("rows", *astuple(wanted))
        return piece

    def status(self) -> TransportStatus:
        return self._status

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            if self._client:
                self._client.shutdown()
            self._changed.notify_all()
        self._keeper.join(_CLOSE_TIMEOUT)
        if self._folder:
            self._folder.cleanup()

    @property
    def pid(self) -> int | None:
        """The transport's process, while there is one."""
        client = self._client
        return client.pid if client else None

    def _call(self, verb: str, *arguments: Any) -> Any:
        client, status = self._client, self._status
        if client is None or not status.healthy:
            raise TransportDown(status.detail)
        return client.call(verb, *arguments)

    def _keep_alive(self) -> None:
        back_off = BackOff()
        while not self._closing.is_set():
            started = time.monotonic()
            detail = self._live_once()
            if not self._closing.is_set():
                log.warning("%s; starting another", detail)
            self._closing.wait(back_off.after(time.monotonic() - started))

    def _live_once(self) -> str:
        """From the start of one process to its end. Returns why it ended."""
        try:
            client = IpcClient(self._settings, self._key, self._latest)
        except OSError as error:
            self._set(_down(f"cannot start the transport process: {brief(error)}", self._status))
            return self._status.detail
        with self._changed:
            self._client = client
            if self._closing.is_set():
                client.shutdown()
        self._spoke = False
        detail = client.listen(self._hear)
        with self._changed:
            self._client = None
        self._set(_down("closed" if self._closing.is_set() else detail, self._status))
        status, used, last = client.end()
        detail = f"{detail}: {last or _by_status(status)}"
        # A process that was killed did not wait for its daemon, whose seconds only it could tell.
        self._earlier_cpu = max(self._earlier_cpu + used, self._status.cpu_seconds)
        self._reaped_cpu += used
        self._stillborn = 0 if self._spoke else self._stillborn + 1
        told = "closed" if self._closing.is_set() else detail
        self._set(self._counted(replace(self._status, cpu_seconds=0.0, detail=told)))
        return f"{detail} (all of its output: {self._settings.log})" if self._settings.log else detail

    def _hear(self, state: dict[str, Any]) -> None:
        self._spoke = True
        self._set(self._counted(_status(state)))

    def _counted(self, status: TransportStatus) -> TransportStatus:
        """A status of the running process, with the CPU seconds of all before it."""
        total = self._earlier_cpu + status.cpu_seconds
        return replace(status, cpu_seconds=total, ended_cpu_seconds=self._reaped_cpu)

    def _set(self, status: TransportStatus) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()


def _cause(detail: str) -> str:
    if detail != STARTING:
        return detail
    return "the p2p daemon is still starting, as on a machine that has too much to do: try again, or end other programs"


def _by_status(status: int) -> str:
    """Of a process that said nothing."""
    return f"signal {-status} ended it" if status < 0 else f"exit status {status}"


def _down(detail: str, last: TransportStatus | None = None) -> TransportStatus:
    """A dead transport's status, with the figures of its last sign of life."""
    if last:
        return replace(last, healthy=False, addresses=(), detail=detail)
    return TransportStatus(healthy=False, addresses=(), peers_seen=0, counters={}, detail=detail)


def _status(state: dict[str, Any]) -> TransportStatus:
    typed = {"addresses": tuple(state["addresses"]), "reach": Reachability(state["reach"])}
    return TransportStatus(**state | typed)
