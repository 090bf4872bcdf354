"""Any bytes, at every place where bytes come in: a value, or the one kind of error that the caller expects."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import golden_vectors as golden
import msgpack
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.storage.checkpoint import STATE, CheckpointError, Checkpoints
from node.storage.events import History, Store
from node.storage.rollout_rows import unpack_texts
from node.storage.store_file import StoreError
from policies.policy import Policy, PolicyError
from policies.progress import PROGRESS_FILE, read_progress
from policies.rollout import Image
from swarm.errors import DecodeError, InviteError, TransportError
from swarm.exchange.announcement_exchange import ask_announcements
from swarm.exchange.autonat import ask
from swarm.exchange.body_exchange import _decode_gossip
from swarm.exchange.framing import decode_request, read_frame
from swarm.exchange.peer_stats import NodeStats
from swarm.exchange.told_refusals import decode_refused, encode_refused
from swarm.network import ipc
from swarm.network.peer_cache import PeerCache
from swarm.observer import ipc as observer
from swarm.observer import protobuf
from swarm.wire import images
from swarm.wire.announcement import Announcement
from swarm.wire.body_codec import decode_body, encode_body
from swarm.wire.extensions import Reserved
from swarm.wire.identity import peer_bytes
from swarm.wire.invite import Invite, seal
from swarm.wire.manifest import Manifest
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "protocol-2.json").read_text())
FRAME_HEADER = 5
FEW, MANY = 12, 1000  # examples of one test: in `make test`, and of the slow ones
OWN = Membership.of(golden.OPEN, b"", golden.BOB.peer_id)


@dataclass(frozen=True)
class Parser:
    read: Callable[[bytes], object]
    errors: tuple[type[BaseException], ...]
    example: bytes = b""  # what it reads; damaged in the test


class Sink:
    """A writer to nobody."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


def answered(call: Callable[[Any], Any]) -> Callable[[bytes], object]:
    """What `call` makes of a stream that says these bytes and ends."""

    def read(raw: bytes) -> object:
        async def run() -> object:
            reader = asyncio.StreamReader()
            reader.feed_data(raw)
            reader.feed_eof()
            return await call((reader, Sink()))

        return asyncio.run(run())

    return read


def zipped(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(raw)


def vector(name: str) -> bytes:
    return bytes.fromhex(VECTORS[name])


def fill(width: int, height: int, channels: int) -> bytes:
    return images.encode(
        Image(width, height, channels, bytes(range(256)) * (width * height * channels // 256))
    )


STREAM = (DecodeError, EOFError)
PARSERS = {
    "announcement": Parser(Announcement.decode, (DecodeError,), vector("announcement")),
    "body": Parser(decode_body, (DecodeError,), encode_body(golden.body())),
    "body, zipped": Parser(lambda raw: decode_body(zipped(raw)), (DecodeError,), vector("body, unpacked")),
    "image, png": Parser(images.decode, (DecodeError,), fill(16, 16, 3)),
    "image, webp": Parser(images.decode, (DecodeError,), fill(512, 512, 3)),
    "manifest": Parser(Manifest.decode, (InviteError,), vector("manifest")),
    "invite": Parser(
        lambda raw: Invite.decode(raw.decode("latin-1")), (InviteError,), VECTORS["invite"].encode()
    ),
    "invite, sealed": Parser(lambda raw: Invite.decode(seal(raw)), (InviteError,)),
    "request": Parser(
        lambda raw: decode_request(raw, 3, "request"), (DecodeError,), vector("fetch request")[FRAME_HEADER:]
    ),
    "frame": Parser(answered(lambda s: read_frame(s[0], 4096)), STREAM, vector("fetch request")),
    "refusals": Parser(
        lambda raw: decode_refused(((Reserved.REFUSALS, raw),)),
        (DecodeError,),
        encode_refused({"encoding": 3, "length": 1})[0][1],
    ),
    "fetch answer": Parser(_decode_gossip, (DecodeError,), msgpack.packb([[], [], []])),
    "announcements answer": Parser(
        answered(lambda s: ask_announcements(s, OWN, 0.0)), STREAM, vector("announcements answer")
    ),
    "reach answer": Parser(answered(lambda s: ask(s, OWN, [1])), STREAM, vector("reach answer")),
    "stats": Parser(NodeStats.decode, (DecodeError,), golden.STATS.encode()),
    "ipc": Parser(ipc.unpack, (TransportError,), vector("ipc publish")[4:]),
    "ipc message": Parser(ipc.unpack_message, (TransportError,), vector("ipc answer")[4:]),
    "address": Parser(
        lambda raw: Address.parse(raw.decode("latin-1")), (InviteError,), b"/ip4/10.0.0.1/tcp/4001"
    ),
    "peer id": Parser(
        lambda raw: peer_bytes(raw.decode("latin-1")), (DecodeError,), VECTORS["peer id"].encode()
    ),
    "observer's line": Parser(observer.decode, (DecodeError,), b'{"kind": "offer", "raw": "00"}'),
    "protobuf": Parser(lambda raw: list(protobuf.read(raw, 16)), (DecodeError,), b"\x0a\x03abc\x10\x05"),
    "kept texts": Parser(unpack_texts, (ValueError,)),
}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
junk = st.binary(max_size=4096) | values.map(msgpack.packb) | values.map(lambda v: repr(v).encode())
flips = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=8)
cuts = st.tuples(st.integers(0, 2**20), st.integers(0, 64), st.binary(max_size=64))


def damaged(raw: bytes, changes: list[tuple[int, int]], cut: tuple[int, int, bytes]) -> bytes:
    """`raw` with bytes replaced, and then a piece of it by another."""
    wire = bytearray(raw)
    for position, value in changes:
        if wire:
            wire[position % len(wire)] = value
    start, length, piece = cut
    start %= len(wire) + 1
    wire[start : start + length] = piece
    return bytes(wire)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=FEW)
@given(raw=junk)
def test_junk_is_a_value_or_the_expected_error(name: str, raw: bytes) -> None:
    reads_or_refuses(PARSERS[name], raw)


@pytest.mark.parametrize("name", [name for name, parser in PARSERS.items() if parser.example])
@settings(max_examples=FEW)
@given(changes=flips, cut=cuts)
def test_damage_is_a_value_or_the_expected_error(
    name: str, changes: list[tuple[int, int]], cut: tuple[int, int, bytes]
) -> None:
    reads_or_refuses(PARSERS[name], damaged(PARSERS[name].example, changes, cut))


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=MANY)
@given(raw=junk, changes=flips, cut=cuts)
def test_much_junk_and_damage(
    name: str, raw: bytes, changes: list[tuple[int, int]], cut: tuple[int, int, bytes]
) -> None:
    reads_or_refuses(PARSERS[name], raw)
    reads_or_refuses(PARSERS[name], damaged(PARSERS[name].example, changes, cut))


@pytest.mark.parametrize("name", [name for name, parser in PARSERS.items() if parser.example])
def test_the_example_is_read(name: str) -> None:
    assert PARSERS[name].read(PARSERS[name].example) is not None


def reads_or_refuses(parser: Parser, raw: bytes) -> None:
    try:
        parser.read(raw)
    except parser.errors:
        return


@settings(max_examples=FEW)
@given(rows=st.lists(st.tuples(st.sampled_from(["round", "life", "peer"]), junk | st.text()), max_size=4))
def test_rows_of_a_store_that_are_none_are_a_store_error(rows: list[tuple[str, bytes | str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.sqlite"
        Store(path).close()
        with closing(sqlite3.connect(path)) as db, db:
            db.executemany("INSERT INTO events (time, round, kind, data) VALUES (1.0, 1, ?, ?)", rows)
        for read in (History(path).rounds, History(path).life, History(path).peers):
            try:
                read()
            except StoreError:
                continue


class AnyPolicy:
    def load(self, folder: Path) -> None: ...


@settings(max_examples=FEW)
@given(raw=junk | values.map(lambda v: json.dumps(v, default=str).encode()))
def test_a_checkpoints_state_that_is_none_is_a_checkpoint_error(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        round_folder = Path(folder) / "round-00000001"
        round_folder.mkdir()
        (round_folder / STATE).write_bytes(raw)
        with pytest.raises(CheckpointError):
            Checkpoints(Path(folder), 1).load_latest(cast(Policy, AnyPolicy()))


@settings(max_examples=FEW)
@example(raw=b"J")
@given(raw=junk)
def test_a_policys_progress_that_is_none_is_a_policy_error(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PROGRESS_FILE).write_bytes(raw)
        with pytest.raises(PolicyError):
            read_progress(Path(folder), "tiny")


@settings(max_examples=FEW)
@given(raw=junk)
def test_a_peer_cache_of_anything_is_a_cache(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "peers.txt").write_bytes(raw)
        assert isinstance(PeerCache(Path(folder) / "peers.txt").addresses, tuple)
