"""Members that serve rows which are none: each is refused with its verdict and counted, and others are asked."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
import zstandard
from row_streams import CONTENT, JOINER, MALLORY, OWN, OWNER, Serve, dialler, honest, places, server, wanted

from swarm.errors import FetchFailed
from swarm.exchange.framing import HEADER, Stream
from swarm.limits import ROWS_PIECE
from swarm.rows import rows_fetch
from swarm.rows.pieces import pack
from swarm.rows.rows_fetch import Fault, RowsFetcher

BOMB = zstandard.ZstdCompressor().compress(bytes(512 * 2**20))
GOOD = pack(CONTENT[:ROWS_PIECE])


def frame(payload: bytes, status: int = 0) -> bytes:
    return HEADER.pack(status, len(payload)) + payload


def saying(answer: bytes) -> Serve:
    async def serve(stream: Stream) -> None:
        reader, writer = stream
        await reader.read(4096)
        writer.write(answer)
        writer.close()

    return serve


async def endless(stream: Stream) -> None:
    """A frame that is announced as long as a piece may be, and comes a byte at a time."""
    reader, writer = stream
    await reader.read(4096)
    writer.write(HEADER.pack(0, ROWS_PIECE))
    try:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)
    except OSError:
        writer.close()


async def silent(stream: Stream) -> None:
    await stream[0].read()
    stream[1].close()


HOSTILE: dict[str, tuple[Serve, Fault]] = {
    "wrong digest": (saying(frame(pack(os.urandom(ROWS_PIECE)))), Fault.WRONG),
    "one bit": (saying(frame(pack(b"x" + CONTENT[1:ROWS_PIECE]))), Fault.WRONG),
    "too long": (saying(frame(bytes(ROWS_PIECE + 1025))), Fault.MALFORMED),
    "says four gigabytes": (saying(HEADER.pack(0, 2**32 - 1)), Fault.MALFORMED),
    "another size": (saying(frame(pack(CONTENT[: ROWS_PIECE - 1]))), Fault.MALFORMED),
    "bomb": (saying(frame(BOMB)), Fault.MALFORMED),
    "bomb behind the piece": (saying(frame(GOOD + BOMB)), Fault.MALFORMED),
    "no frame": (saying(frame(CONTENT[:1000])), Fault.MALFORMED),
    "unknown status": (saying(frame(b"", 77)), Fault.MALFORMED),
    "nothing": (saying(b""), Fault.UNREACHABLE),
    "half": (saying(frame(GOOD)[:-10]), Fault.UNREACHABLE),
    "endless": (endless, Fault.SLOW),
    "silent": (silent, Fault.SLOW),
    "busy": (saying(frame(b"", 2)), Fault.BUSY),
    "not found": (saying(frame(b"", 1)), Fault.NOT_FOUND),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_member_is_refused_and_another_gives_the_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(rows_fetch, "_ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr("swarm.exchange.framing.GRACE", 0.2)
    serve, fault = HOSTILE[kind]
    fetcher = RowsFetcher(OWN, random.Random(0))
    answering = {MALLORY.peer_id: serve, OWNER.peer_id: honest(server(tmp_path))}

    async def run() -> bytes:
        dial = dialler(answering)
        with pytest.raises(FetchFailed, match=fault.value):
            await fetcher.fetch(wanted(), places(MALLORY), dial, 0.9)
        return await fetcher.fetch(wanted(), places(MALLORY, OWNER), dial, 10.0)

    assert asyncio.run(run()) == CONTENT[:ROWS_PIECE]
    assert fetcher.counters[f"rows_from_{fault}"] >= 1 and fetcher.counters["rows_fetched"] == 1
    assert {name for name in fetcher.counters if name.startswith("rows_from_")} == {f"rows_from_{fault}"}


def test_who_lied_once_is_not_asked_for_any_piece_of_these_rows_again() -> None:
    asked = 0

    async def lie(stream: Stream) -> None:
        nonlocal asked
        asked += 1
        await saying(frame(pack(bytes(ROWS_PIECE))))(stream)

    fetcher = RowsFetcher(OWN)

    async def run() -> None:
        for number in (1, 2, 1):
            with pytest.raises(FetchFailed, match="wrong"):
                await fetcher.fetch(wanted(number), places(MALLORY), dialler({MALLORY.peer_id: lie}), 0.5)

    asyncio.run(run())
    assert asked == 1 and fetcher.counters == {"rows_from_wrong": 1}


def test_nobody_who_answers_is_told_in_words() -> None:
    fetcher = RowsFetcher(OWN)
    with pytest.raises(FetchFailed, match=f"{OWNER.peer_id}: unreachable"):
        asyncio.run(fetcher.fetch(wanted(), places(OWNER), dialler({}), 0.3))
    with pytest.raises(FetchFailed, match="no member is known"):
        asyncio.run(fetcher.fetch(wanted(), [], dialler({}), 0.3))
    assert JOINER.peer_id not in dict(fetcher.counters)
