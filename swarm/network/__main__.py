"""The transport's own process (`python -m swarm.network FD`) serves its parent over the inherited socket FD.

A training step holds Python's interpreter lock for seconds; a process of its own answers peers meanwhile.
It ends with its parent, however that ends, and the daemon ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from swarm.errors import DecodeError, FetchFailed, TransportDown
from swarm.log_lines import PrintableFormatter
from swarm.network import dht_protocol, ipc
from swarm.network.dht_validator import install_depth_guard
from swarm.network.ipc import DhtSettings
from swarm.network.supervisor import PeerSupervisor
from swarm.process import FamilyClock, die_with_parent, end_quickly
from swarm.rows.rows_fetch import Wanted
from swarm.wire.announcement import Announcement

log = logging.getLogger(__name__)


class Server:
    """Answers the parent's calls, each in its own task, as they finish."""

    def __init__(
        self, supervisor: PeerSupervisor, settings: DhtSettings, writer: asyncio.StreamWriter
    ) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._writer = writer
        self._tasks: set[asyncio.Task[None]] = set()
        self._handed_up: dict[bytes, Announcement] = {}  # by their bytes: the latest answer's
        self._verbs: dict[str, Callable[..., Awaitable[Any]]] = {
            "publish": self._publish,
            "announcements": self._announcements,
            "fetch": self._fetch,
            "rows": self._rows,
        }

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Returns when the parent closes the socket or is gone."""
        with suppress(EOFError, ConnectionError):
            while True:
                call, verb, arguments = await receive(reader)
                task = asyncio.create_task(self._answer(call, verb, arguments))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def report(self) -> None:
        """Sends the state, at every change within a tenth of a second."""
        sent, ticks, clock = None, 0, FamilyClock()
        while True:
            state = self._supervisor.state()
            if state != sent or ticks * 0.1 >= ipc.HEARTBEAT:
                # Apart from the state: it changes all the time, and is told as often as the rest.
                await self._send([ipc.STATE, None, state | {"cpu_seconds": clock.seconds()}])
                sent, ticks = state, 0
            ticks += 1
            await asyncio.sleep(0.1)

    async def _answer(self, call: int, verb: str, arguments: list[Any]) -> None:
        # Half a second early, so that the parent hears the reason instead of nothing.
        deadline = max(0.5, ipc.call_deadline(verb, self._settings) - 0.5)
        try:
            async with asyncio.timeout(deadline):
                answer = [call, None, await self._verbs[verb](*arguments)]
        except TransportDown as error:
            answer = [call, "down", str(error)]
        except FetchFailed as error:
            answer = [call, "fetch", str(error)]
        except DecodeError as error:
            answer = [call, "refused", str(error)]
        except TimeoutError:
            answer = [call, "down", f"{verb}: the swarm did not answer within {deadline:g} s"]
        except Exception as error:  # a fault of ours or of hivemind's ends one call, not the node
            log.exception("%s failed", verb)
            answer = [call, "down", f"{verb} failed with {type(error).__name__}; see the transport's log"]
        await self._send(answer)

    async def _send(self, message: list[Any]) -> None:
        self._writer.write(ipc.pack(message))
        with suppress(ConnectionError):
            await self._writer.drain()

    async def _publish(self, body: bytes, summary: list[Any]) -> bytes:
        self._supervisor.keep(body, ipc.summary_from_wire(summary))
        return (await self._supervisor.announce()).encode()

    async def _announcements(self, want: int, declined: list[bytes], known: list[str]) -> list[bytes]:
        found = await self._supervisor.announcements(want, [self._decoded(raw) for raw in declined], known)
        self._handed_up = {a.encode(): a for a in found}
        return list(self._handed_up)

    async def _fetch(self, announcement: bytes, refused: dict[str, int] | None = None) -> bytes:
        return await self._supervisor.fetch(self._decoded(announcement), refused or {})

    async def _rows(self, root: bytes, number: int, length: int, digest: bytes) -> bytes:
        return await self._supervisor.rows(Wanted(root, number, length, digest))

    def _decoded(self, raw: bytes) -> Announcement:
        """Without another look into what this process handed up itself: decoding takes 0.1 ms and more."""
        return self._handed_up.get(raw) or Announcement.decode(raw)


async def receive(reader: asyncio.StreamReader) -> Any:
    """One message. Raises EOFError when the other end is gone."""
    length = ipc.frame_length(await reader.readexactly(ipc.LENGTH.size))
    return ipc.unpack(await reader.readexactly(length))


async def serve(descriptor: int) -> None:
    """Until the parent is gone or something fails that a fresh process may cure."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    values, key, latest = await receive(reader)
    settings = DhtSettings.from_wire(values)
    supervisor = PeerSupervisor(settings, Path(key))
    if latest:
        supervisor.keep(latest[0], ipc.summary_from_wire(latest[1]))
    server = Server(supervisor, settings, writer)
    tasks = [asyncio.create_task(c) for c in (server.listen(reader), server.report(), supervisor.run())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    die_with_parent()
    end_quickly()
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    install_depth_guard()
    dht_protocol.install()
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
