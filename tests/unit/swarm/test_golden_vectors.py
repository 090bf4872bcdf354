"""The protocol's bytes as tests/golden/protocol-2.json has them: nodes of before cannot read what changes here."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import golden_vectors as made
import pytest
import zstandard

from swarm import limits
from swarm.exchange.framing import HEADER, decode_request
from swarm.exchange.peer_stats import NodeStats
from swarm.network import ipc
from swarm.rows.pieces import PieceList
from swarm.wire.announcement import Announcement
from swarm.wire.body_codec import decode_body
from swarm.wire.extensions import Reserved
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest
from swarm.wire.membership import admits

VECTORS = json.loads((Path(__file__).parents[2] / "golden" / "protocol-2.json").read_text())
BUILT = made.build()


def raw(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name])


@pytest.mark.parametrize("name", sorted({*VECTORS, *BUILT}))
def test_the_bytes_are_those_of_protocol_2(name: str) -> None:
    assert BUILT.get(name) == VECTORS.get(name)


def test_bodies_and_swarm_ids_are_those_of_protocol_1() -> None:
    assert raw("body, unpacked")[:2] == b"\x97\x01"
    assert raw("manifest")[:2] == b"\x96\x01"
    assert VECTORS["swarm id, open"] == "ae004c2258cf7163adfca638713eda15"


def test_the_bytes_are_read_as_what_they_stand_for() -> None:
    assert Manifest.decode(raw("manifest")) == made.SHARDED
    assert Invite.decode(VECTORS["invite"]).manifest == made.SHARDED
    private = Invite.decode(VECTORS["invite, private"])
    assert (private.manifest, private.secret) == (made.PRIVATE, made.SECRET)
    for name, expected in (
        ("announcement", made.announcement()),
        ("announcement, private", made.private_announcement()),
    ):
        decoded = Announcement.decode(raw(name))
        assert decoded == expected and decoded.verify_signature()
    assert admits(made.PRIVATE.member_key, made.PRIVATE.swarm_id, made.ALICE.peer_id, raw("membership token"))
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(raw("body, unpacked"))
    assert decode_body(frame) == made.body()


@pytest.mark.parametrize(
    ("kind", "count"),
    [("fetch", 3), ("announcements", 3), ("push", 4), ("reach", 3), ("stats", 2), ("rows, list:", 4)],
)
def test_requests_are_one_frame_of_version_2_that_names_the_swarm(kind: str, count: int) -> None:
    sent = raw(f"{kind} request")
    status, length = HEADER.unpack_from(sent)
    assert status == 0
    assert decode_request(sent[5 : 5 + length], count, kind)[0][0] == made.OPEN.swarm_id


def test_answers_and_ipc_frames_are_read_as_what_they_stand_for() -> None:
    assert NodeStats.decode(raw("stats answer")[5:]) == made.STATS
    assert raw("fetch answer").startswith(HEADER.pack(0, len(made.CONTENT)) + made.CONTENT)
    assert raw("fetch, not found: answer")[0] == 1 and raw("fetch, busy: answer")[0] == 2
    assert raw("fetch, other version: answer") == bytes.fromhex("03000000029102")
    assert PieceList.decode(raw("rows, list: answer, unpacked"), made.ROWS.size) == made.ROWS
    assert hashlib.sha256(raw("rows, piece: answer, unpacked")).digest() == made.ROWS.digests[0]
    assert raw("rows, not found: answer")[0] == 1
    call, verb, arguments = ipc.unpack(raw("ipc fetch")[4:])
    assert (call, verb, Announcement.decode(arguments[0])) == (3, "fetch", made.announcement())
    settings, _, publication = ipc.unpack(raw("ipc first message")[4:])
    assert ipc.DhtSettings.from_wire(settings).manifest == made.OPEN
    assert publication[0] == made.CONTENT


def test_the_protocols_page_quotes_vectors_and_numbers_that_exist() -> None:
    page = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    quoted = set(re.findall(r'\("([^"]+)"', page))
    assert len(quoted) >= 15 and quoted - VECTORS.keys() == set()
    table = re.findall(r"^\| ([0-9]+) ([a-z ]+) \|", page, flags=re.MULTILINE)
    assert [(int(number), name.replace(" ", "_").upper()) for number, name in table] == [
        (reserved.value, reserved.name) for reserved in Reserved
    ]
    for bound in (
        limits.MAX_ANNOUNCEMENT,
        limits.MAX_BODY,
        limits.MAX_REQUEST,
        limits.MAX_STATS,
        limits.MAX_TEXT,
        limits.ROWS_PIECE,
        limits.MAX_SHARED_ROWS,
    ):
        assert f"{bound:,}" in page
