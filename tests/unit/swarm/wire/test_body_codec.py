"""The codec: what goes in comes out, and whatever breaks a bound does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import msgpack
import pytest
import zstandard
from fakes import ALICE, BOB, body, body_of, group, packed_group, shared_group

from policies.rollout import Finish, Segment
from swarm.errors import DecodeError
from swarm.limits import (
    BODY_VERSION,
    MAX_BODY,
    MAX_BODY_RAW,
    MAX_BODY_ROLLOUTS,
    MAX_GROUP_IMAGES,
    MAX_GROUPS,
    MAX_IMAGE,
    MAX_ROLLOUTS,
    MAX_TEXT,
)
from swarm.wire import body as bodies
from swarm.wire.announcement import summarise
from swarm.wire.body import share, shareable
from swarm.wire.body_codec import decode_body, encode_body


def frame(value: object, **options: bool) -> bytes:
    packed = value if isinstance(value, bytes) else msgpack.packb(value)
    options = {"write_checksum": True, "write_content_size": True, **options}
    return zstandard.ZstdCompressor(level=3, **options).compress(packed)


def arrays(**changes: object) -> list[object]:
    """A valid body as msgpack sees it: one group of two rollouts, with fields replaced by name."""
    rollout = [changes.pop("text", "it is 8"), changes.pop("finish", "stop"), changes.pop("claim", 1.0)]
    if "image" in changes:
        rollout.append(changes.pop("image"))
    other = ["it is 9", "length", 0.25]
    groups = [[changes.pop("task", "addition@1"), changes.pop("seed", 7), [rollout, other]]]
    fields = {
        "version": BODY_VERSION,
        "swarm": "s",
        "sender": "p",
        "fingerprint": "tiny",
        "policy_version": 3,
        "round": 1,
        "groups": groups,
    }
    return list({**fields, **changes}.values())


def test_the_valid_example_decodes() -> None:
    decoded = decode_body(frame(arrays()))
    assert decoded.groups[0].rollouts[1].finish is Finish.LENGTH
    assert decode_body(encode_body(decoded)) == decoded


def test_wire_bytes_of_version_1_stay_readable() -> None:
    """Of text as they were before images travelled, byte by byte."""
    raw = bytes.fromhex(
        "9701a173a170a474696e7903019193aa6164646974696f6e40310792"
        "93a769742069732038a473746f70cb3ff000000000000093a76974206973203"
        "9a66c656e677468cb3fd0000000000000"
    )
    body = decode_body(frame(raw))
    assert body == decode_body(frame(arrays()))
    assert zstandard.decompress(encode_body(body)) == raw


def test_wire_bytes_of_an_image_stay_readable() -> None:
    raw = bytes.fromhex(
        "9701a173a170a474696e7903019193aa6164646974696f6e4031079294a0a4"
        "73746f70cb3ff0000000000000c4020102"
        "93a769742069732039a66c656e677468cb3fd0000000000000"
    )
    first, second = decode_body(frame(raw)).groups[0].rollouts
    assert (first.text, first.finish, first.claimed_reward, first.image) == (
        "",
        Finish.STOP,
        1.0,
        b"\x01\x02",
    )
    assert (second.text, second.image) == ("it is 9", b"")
    assert zstandard.decompress(encode_body(decode_body(frame(raw)))) == raw


def test_a_body_comes_back_as_it_went_in() -> None:
    sent = body([group(1), group(2)], ALICE)
    assert decode_body(encode_body(sent)) == sent


@pytest.mark.parametrize(
    "changes",
    [
        {"version": BODY_VERSION + 1},
        {"version": True},
        {"swarm": b"s"},
        {"swarm": "s" * 200},
        {"sender": "p\x1b[2J"},
        {"sender": "\u0440"},  # a Cyrillic look-alike of p
        {"fingerprint": "f" * 65},
        {"policy_version": -1},
        {"policy_version": 2**60},
        {"round": True},
        {"round": 1.0},
        {"groups": []},
        {"groups": {}},
        {"groups": "x"},
        {"groups": [["addition@1", 1, []]]},
        {"groups": [["addition@1", 1, [["a", "stop", 1.0]], 1]]},
        {"groups": [["addition@1", 1, [["a", "stop"]]]]},
        {"groups": [["addition@1", 1, [["a", "stop", 1.0, b"i", 1]]]]},
        {"groups": [["addition@1", 1, [["", "stop", 1.0, b"i"]] * (MAX_GROUP_IMAGES + 1)]]},
        {"task": "../../etc/passwd\0"},
        {"task": "t" * 97},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": False},
        {"seed": "7"},
        {"image": "text"},
        {"image": b""},  # no image is three fields: one body has one form
        {"image": None},
        {"image": bytes(MAX_IMAGE + 1)},
        {"text": b"bytes"},
        {"text": 5},
        {"text": []},
        {"text": ["nested"]},
        {"text": "x" * (MAX_TEXT + 1)},
        {"text": "\u20ac" * (MAX_TEXT // 3 + 1)},  # within the bound in characters, not in bytes
        {"text": msgpack.ExtType(1, b"x")},
        {"text": None},
        {"finish": "unfinished"},
        {"finish": "later"},
        {"finish": 0},
        {"claim": float("nan")},
        {"claim": float("inf")},
        {"claim": 1e9},
        {"claim": -0.1},
        {"claim": 1},
        {"claim": True},
        {"claim": None},
    ],
    ids=repr,
)
def test_one_wrong_field_refuses_the_body(changes: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_body(frame(arrays(**changes)))


def test_more_groups_or_rollouts_than_the_limits_are_refused() -> None:
    rollout = ["a", "stop", 1.0]
    most = [["t", 1, [rollout] * MAX_ROLLOUTS]] * (MAX_BODY_ROLLOUTS // MAX_ROLLOUTS)
    assert decode_body(frame(arrays(groups=most))).rollouts == MAX_BODY_ROLLOUTS
    for groups in (
        [["t", 1, [rollout]]] * (MAX_GROUPS + 1),
        [["t", 1, [rollout] * (MAX_ROLLOUTS + 1)]],
        [*most, ["t", 1, [rollout]]],
    ):
        with pytest.raises(DecodeError):
            decode_body(frame(arrays(groups=groups)))


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"junk",
        msgpack.packb(arrays()),
        frame(b""),
        frame(msgpack.packb(arrays())[:-1]),
        frame(msgpack.packb(arrays()) + b"\x00"),
        frame(msgpack.packb(arrays()).replace(b"it is 9", b"it \xed\xa0\x80 9")),
        frame(arrays(), write_checksum=False),
        frame(arrays(), write_content_size=False),
        # The last four bytes are the checksum: a sender may leave them out, nobody else can, by the digest.
        frame(arrays())[:-6],
        frame(arrays()) + b"x",
        frame(arrays()) + frame(arrays()),
    ],
)
def test_bytes_that_are_not_one_frame_of_one_body_are_refused(wire: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_body(wire)


def test_a_well_formed_body_over_the_raw_limit_is_refused_unread() -> None:
    rollouts = [["x" * MAX_TEXT, "stop", 1.0]] * (MAX_BODY_RAW // MAX_TEXT + 1)
    with pytest.raises(DecodeError, match="declares"):
        decode_body(frame(arrays(groups=[["t", 1, rollouts]])))


def test_errors_do_not_repeat_the_sender() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_body(frame(arrays(task="\x1b]0;owned\x07")))
    assert "owned" not in str(caught.value)


def test_a_body_over_the_wire_limit_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.wire.body_codec.MAX_BODY", 50)
    with pytest.raises(ValueError, match="publish fewer groups"):
        encode_body(body([group(1)], ALICE))


def test_shareable_keeps_at_home_what_no_peer_would_accept() -> None:
    good = group(1)
    right, wrong = good.rollouts
    partial = replace(right, finish=Finish.UNFINISHED)
    empty = replace(right, text="")
    overlong = replace(right, text="x" * (MAX_TEXT + 1))
    mixed = replace(good, rollouts=(partial, right, empty, wrong, overlong))
    assert shareable([mixed]) == [packed_group(good)]
    assert shareable([replace(good, rollouts=(right, partial)), replace(good, origin=BOB)]) == []


def test_what_is_finished_and_stays_at_home_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SHARED_BYTES", 2000)
    right, wrong = group(1).rollouts
    overlong = replace(right, text="\u00fc" * (MAX_TEXT // 2 + 1))  # too many bytes, though not characters
    partial, empty = replace(right, finish=Finish.UNFINISHED), replace(right, text="")
    long = replace(right, text="x" * 900)
    groups = [
        replace(group(0), rollouts=(right, wrong, overlong, partial, empty)),
        replace(group(1), rollouts=(overlong, overlong, right)),
        replace(group(2), rollouts=(right,) * (MAX_ROLLOUTS + 1)),
        replace(group(3), rollouts=(long, long)),
        replace(group(4), rollouts=(long, long)),
        replace(group(5), rollouts=(overlong, wrong), origin=BOB),
    ]
    withheld: Counter[str] = Counter()
    assert [packed.group.problem.seed for packed in shareable(groups, withheld)] == [0, 3]
    assert +withheld == {"overlong_rollouts": 3, "groups_of_too_many": 1, "groups_beyond_a_body": 1}
    nothing: Counter[str] = Counter()
    shareable([group(0)], nothing)
    assert not +nothing


def test_shareable_fits_into_one_body_even_where_nothing_compresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SHARED_BYTES", 2000)
    groups = [group(seed, ["x" * 300, "y" * 300]) for seed in range(5)]
    assert [packed.group.problem.seed for packed in shareable(groups)] == [0, 1, 2]


def test_shareable_stops_at_the_limits_of_one_body() -> None:
    assert len(shareable(group(seed) for seed in range(MAX_GROUPS + 5))) == MAX_GROUPS
    assert bodies.SHARED_BYTES + 32 * MAX_BODY_ROLLOUTS < MAX_BODY


def test_share_carries_text_finish_and_claims_and_nothing_else() -> None:
    own = group(5)
    shared = share([packed_group(own)], "s", ALICE, summarise([own], 2, 9, "tiny"))
    assert shared == replace(
        body_of([shared_group(5, ("it is 6", 1.0), ("it is 7", 0.25))], ALICE),
        swarm="s",
        policy_version=9,
        round=2,
    )


def test_an_unscored_group_cannot_be_shared() -> None:
    unscored = replace(group(1).rollouts[0], reward=None, segments=(Segment(0, (1,)),))
    with pytest.raises(ValueError, match="unscored"):
        broken = packed_group(replace(group(1), rollouts=(unscored, unscored)))
        share([broken], "s", ALICE, summarise([group(1)], 1, 1, "t"))
