"""The observer's conversation with its parent: orders first, then a look for every further line."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import trio

from swarm.observer.host import Host
from swarm.observer.ipc import Orders, tell
from swarm.observer.survey import Survey

_MAX_LINE = 64 * 1024  # bytes


def run() -> None:
    """Returns when stdin ends."""
    trio.run(_serve)


async def _serve() -> None:
    lines = _lines()
    orders = Orders.decode(await anext(lines))
    async with Host.open(orders.seed) as host:
        survey = Survey(host, orders.manifest, orders.bootstrap, orders.token)
        async for _ in lines:
            await survey.look(tell)


async def _lines() -> AsyncIterator[str]:
    pending = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        while len(pending) <= _MAX_LINE and (part := await stream.receive_some(_MAX_LINE)):
            *whole, pending = (pending + part).split(b"\n")
            for line in whole:
                yield line.decode()
