"""The rows server: members get every piece, within a quota a peer and an address; strangers get nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from announcing import MANIFEST
from row_streams import (
    CONTENT,
    JOINER,
    MALLORY,
    OWN,
    OWNER,
    PIECES,
    dialler,
    honest,
    pair,
    places,
    server,
    wanted,
)

from swarm.exchange.body_store import ServeLimits
from swarm.exchange.framing import Status, encode_request, read_frame, write_frame
from swarm.rows import rows_server
from swarm.rows.rows_fetch import Fault, PieceRefused, RowsFetcher, ask_piece
from swarm.rows.rows_server import RowsServer

SWARM = MANIFEST.swarm_id


async def asked(
    served: RowsServer, number: int, peer: str = JOINER.peer_id, host: str = "h"
) -> Fault | bytes:
    dial = dialler({OWNER.peer_id: honest(served, peer, host)})
    try:
        return await ask_piece(await dial(OWNER.peer_id, []), OWN, wanted(number))
    except PieceRefused as refused:
        return refused.fault


def test_the_list_and_every_piece_make_the_content(tmp_path: Path) -> None:
    served, fetcher = server(tmp_path), RowsFetcher(OWN)

    async def run() -> list[bytes]:
        dial = dialler({OWNER.peer_id: honest(served)})
        return [await fetcher.fetch(wanted(n), places(OWNER), dial, 5.0) for n in range(4)]

    listed, *pieces = asyncio.run(run())
    assert listed == PIECES.encode() and b"".join(pieces) == CONTENT
    assert served.counters["rows_served"] == 4 and served.counters["rows_served_bytes"] < 0.7 * len(CONTENT)
    assert fetcher.counters == {"rows_fetched": 4, "rows_fetched_bytes": len(CONTENT) + len(listed)}


def test_a_peer_gets_a_few_copies_an_hour_and_an_address_a_few_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_server, "_HOST_COPIES", 4)
    served = server(tmp_path, ServeLimits(upload_rate=1e9))
    piece = PIECES.length(0)

    async def greedy(peer: str, host: str) -> int:
        got = [await asked(served, 1, peer, host) for _ in range(40)]
        assert got[-1] is Fault.BUSY
        return sum(isinstance(answer, bytes) for answer in got)

    async def run() -> list[int]:
        return [
            await greedy(JOINER.peer_id, "203.0.113.1"),
            await greedy(MALLORY.peer_id, "203.0.113.1"),
            await greedy("another", "203.0.113.2"),
        ]

    first, second, elsewhere = asyncio.run(run())
    copies = (len(CONTENT) + 2 * piece + 2048) // piece
    assert first == elsewhere == pytest.approx(3 * copies, abs=3) and second < first / 2
    assert served.counters["rows_busy"] == 120 - first - second - elsewhere


def test_the_upload_rate_bounds_all_peers_together(tmp_path: Path) -> None:
    served = server(tmp_path, ServeLimits(upload_rate=1.0))

    async def run() -> list[Fault | bytes]:
        return [await asked(served, 1, f"peer {n}", f"host {n}") for n in range(10)]

    got = asyncio.run(run())
    assert 4 <= sum(isinstance(answer, bytes) for answer in got) < 10 and got[-1] is Fault.BUSY


def test_what_is_not_here_is_not_found(tmp_path: Path) -> None:
    served = server(tmp_path)
    (tmp_path / f"{PIECES.root.hex()}.jsonl").write_bytes(b"")
    assert asyncio.run(asked(served, 1)) is Fault.NOT_FOUND
    assert served.counters == {"rows_not_found": 1}


@pytest.mark.parametrize(
    "values",
    [
        ("x", PIECES.root, 0, b""),
        (SWARM, PIECES.root[:-1], 0, b""),
        (SWARM, "../../etc/passwd", 0, b""),
        (SWARM, PIECES.root, -1, b""),
        (SWARM, PIECES.root, 10**6, b""),
        (SWARM, PIECES.root, "0", b""),
        (SWARM, PIECES.root, 0),
    ],
)
def test_bad_questions_get_no_answer_and_are_counted(tmp_path: Path, values: tuple[object, ...]) -> None:
    served = server(tmp_path)

    async def run() -> bytes:
        (reader, writer), theirs = await pair()
        answering = asyncio.create_task(served.serve(MALLORY.peer_id, *theirs))
        await write_frame(writer, Status.OK, encode_request(*values))
        answer = await reader.read()
        writer.close()
        await answering
        return answer

    assert asyncio.run(run()) == b"" and served.counters == {"rows_serve_failed": 1}


def test_a_number_past_the_last_piece_and_another_root_are_not_found(tmp_path: Path) -> None:
    served = server(tmp_path)

    async def run(root: bytes, number: int) -> Status:
        (reader, writer), theirs = await pair()
        answering = asyncio.create_task(served.serve(JOINER.peer_id, *theirs))
        await write_frame(writer, Status.OK, encode_request(SWARM, root, number, b""))
        status, _ = await read_frame(reader, 0)
        writer.close()
        await answering
        return status

    assert asyncio.run(run(PIECES.root, 4)) is asyncio.run(run(bytes(32), 0)) is Status.NOT_FOUND
