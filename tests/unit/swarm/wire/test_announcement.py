"""Announcements: what survives the wire, what is refused, and where they lie."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import msgpack
import pytest
from announcing import MANIFEST, NOW, SUMMARY, announce, unsigned

from policies.rollout import Finish, Group, Problem, Rollout
from swarm import limits
from swarm.errors import DecodeError
from swarm.wire.announcement import Announcement, TaskSummary, epoch_of, shard_key, shard_of, summarise
from swarm.wire.identity import Identity

ALICE = Identity.ephemeral()


def test_the_wire_gives_back_what_was_signed() -> None:
    announcement = announce(ALICE)
    assert Announcement.decode(announcement.encode()) == announcement
    assert announcement.verify_signature()
    assert len(announcement.signature) == 64


def test_the_fullest_announcement_fits() -> None:
    tasks = tuple(TaskSummary("t" * 60 + str(i), 1024, 1.0) for i in range(limits.MAX_TASKS_ANNOUNCED))
    full = replace(SUMMARY, fingerprint="f" * limits.MAX_FINGERPRINT, tasks=tasks)
    addresses = tuple(f"/ip6/2001:db8:0:0:0:0:0:{i}/tcp/65535" for i in range(limits.MAX_ADDRESSES))
    encoded = announce(ALICE, summary=full, addresses=addresses).encode()
    assert len(encoded) <= limits.MAX_ANNOUNCEMENT


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": -1},
        {"depth": limits.MAX_SHARD_DEPTH + 1},
        {"depth": 2, "shard": 4},
        {"created": math.nan},
        {"expires": math.inf},
        {"expires": -1.0},
        {"digest": bytes(31)},
        {"size": 0},
        {"size": limits.MAX_BODY + 1},
        {"size": True},
        {"swarm": "s" * 33},
        {"swarm": "\x1b[2J"},
        {"addresses": ("/ip4/203.0.113.7/tcp/4001",) * 4},
        {"addresses": ("/ip4/203.0.113.7/udp/4001/quic-v1",)},
        {"addresses": ("/ip4/203.0.113.7/tcp/0",)},
        {"addresses": ("/ip4/203.0.113.7/tcp/1/p2p/12D3KooWnobody",)},
        {"addresses": ("/dns4/localhost/tcp/4001",)},
        {"addresses": ("/ip6/64:ff9b::7f00:1/tcp/4001",)},
        {"token": bytes(63)},
        {"summary": replace(SUMMARY, fingerprint="f" * 65)},
        {"summary": replace(SUMMARY, fingerprint="caf\u00e9")},
        {"summary": replace(SUMMARY, groups=limits.MAX_GROUPS + 1)},
        {"summary": replace(SUMMARY, round=2**53 + 1)},
        {"summary": replace(SUMMARY, tasks=(TaskSummary("sort@1", 16, math.nan),))},
        {"summary": replace(SUMMARY, tasks=(TaskSummary("sort@1", 16, 1.5),))},
        {"summary": replace(SUMMARY, tasks=(TaskSummary("t" * 97, 16, 0.5),))},
        {"summary": replace(SUMMARY, tasks=(TaskSummary("sort@1", 16, 0.5),) * 9)},
    ],
)
def test_values_out_of_bounds_are_neither_signed_nor_decoded(change: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        announce(ALICE, **change)
    forged = replace(unsigned(ALICE.peer_id, **change), signature=bytes(64))
    with pytest.raises(DecodeError):
        Announcement.decode(forged.encode())


def test_bytes_around_a_valid_announcement_are_refused() -> None:
    raw = announce(ALICE).encode()
    for damaged in (b"", raw[:64], raw[:-1], raw + b"\0", raw + bytes(limits.MAX_ANNOUNCEMENT)):
        with pytest.raises(DecodeError):
            Announcement.decode(damaged)


def test_another_encoding_of_the_same_fields_is_refused() -> None:
    raw = announce(ALICE).encode()
    fields = msgpack.unpackb(raw[64:])
    longer = msgpack.packb(fields, use_single_float=True)
    assert msgpack.unpackb(longer)[1] == fields[1]
    with pytest.raises(DecodeError):
        Announcement.decode(raw[:64] + longer)
    # The array header in its 3-byte form, where 2^4 fits in fewer.
    assert raw[64] == 0xDC
    with pytest.raises(DecodeError):
        Announcement.decode(raw[:64] + b"\xdd\0\0" + raw[65:])


def test_every_changed_byte_breaks_form_or_signature() -> None:
    raw = announce(ALICE).encode()
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 0x01
        try:
            announcement = Announcement.decode(bytes(changed))
        except DecodeError:
            continue
        assert not announcement.verify_signature(), position


def test_a_signature_is_bound_to_its_domain() -> None:
    body = announce(ALICE).encode()[64:]
    without_domain = Announcement.decode(ALICE.sign(body) + body)
    assert not without_domain.verify_signature()


def test_epochs_and_keys() -> None:
    assert epoch_of(119.9, 60.0) == 1
    assert epoch_of(120.0, 60.0) == 2
    assert shard_key("abc", 5, 2, 3) == "murmur/2/abc/5/2/3"


def test_shards_cover_their_range_evenly_and_move_every_epoch() -> None:
    peers = [Identity.ephemeral().peer_id for _ in range(200)]
    counts = Counter(shard_of(peer, epoch, 3) for peer in peers for epoch in range(20))
    assert set(counts) == set(range(8))
    # 4,000 draws into 8 shards: 500 each with a standard deviation of 21.
    assert all(400 < count < 600 for count in counts.values())
    assert len({shard_of(peers[0], epoch, 20) for epoch in range(20)}) > 15
    assert {shard_of(peer, 9, 0) for peer in peers} == {0}


def group(task: str, *rewards: float | None) -> Group:
    rollouts = tuple(Rollout("text", (), Finish.STOP, reward) for reward in rewards)
    return Group(Problem(task, 1, "prompt", "answer"), rollouts)


def test_a_summary_counts_by_task_and_names_the_largest() -> None:
    groups = [group("a@1", 0.0, 1.0), group("b@1", 1.0), group("a@1", 1.0, 1.0)]
    summary = summarise(groups, round=4, policy_version=9, fingerprint="policy \u2603" + "x" * 100)
    assert (summary.round, summary.policy_version, summary.groups, summary.rollouts) == (4, 9, 3, 5)
    assert summary.tasks == (TaskSummary("a@1", 4, 0.75), TaskSummary("b@1", 1, 1.0))
    assert summary.fingerprint == ("policy ?" + "x" * 100)[: limits.MAX_FINGERPRINT]
    announce(ALICE, summary=summary)

    many = summarise([group(f"t{i}@1", *[0.5] * (i + 1)) for i in range(12)], 0, 0, "")
    assert [t.rollouts for t in many.tasks] == [12, 11, 10, 9, 8, 7, 6, 5]
    assert many.rollouts == 78


def test_unscored_rollouts_cannot_be_announced() -> None:
    with pytest.raises(ValueError, match="unscored"):
        summarise([group("a@1", None)], 0, 0, "")


def test_the_shard_of_a_valid_announcement_is_its_own() -> None:
    announcement = announce(ALICE)
    assert announcement.epoch == epoch_of(NOW, MANIFEST.epoch_seconds)
    assert announcement.shard == shard_of(ALICE.peer_id, announcement.epoch, 4)
