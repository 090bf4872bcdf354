"""The codec on any body and on any damage."""

from __future__ import annotations

import msgpack
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.rollout import Finish
from policies.tasks.task import TRAIN_SEEDS
from swarm.errors import DecodeError
from swarm.wire.body import Body, SharedGroup, SharedRollout
from swarm.wire.body_codec import decode_body, encode_body

names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60)
tasks = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@#/+-]{0,59}", fullmatch=True)
counts = st.integers(0, 2**53)
rollouts = st.builds(
    SharedRollout,
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    finish=st.sampled_from([Finish.STOP, Finish.LENGTH]),
    claimed_reward=st.floats(0, 1),
)
groups = st.builds(
    SharedGroup,
    task=tasks,
    seed=st.integers(0, TRAIN_SEEDS - 1),
    rollouts=st.lists(rollouts, min_size=1, max_size=6).map(tuple),
)
bodies = st.builds(
    Body,
    swarm=names,
    sender=names,
    fingerprint=names,
    policy_version=counts,
    round=counts,
    groups=st.lists(groups, min_size=1, max_size=4).map(tuple),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(bodies)
def test_every_body_comes_back(body: Body) -> None:
    assert decode_body(encode_body(body)) == body


@settings(max_examples=500)
@given(bodies, st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=8))
def test_damaged_bytes_are_refused_or_mean_the_same(body: Body, flips: list[tuple[int, int]]) -> None:
    wire = bytearray(encode_body(body))
    for position, mask in flips:
        wire[position % len(wire)] ^= mask
    try:
        decoded = decode_body(bytes(wire))
    except DecodeError:
        return
    assert decoded == body


@settings(max_examples=300)
@given(bodies, st.integers(0), st.integers(0))
def test_cut_bytes_are_refused_or_mean_the_same(body: Body, start: int, end: int) -> None:
    wire = encode_body(body)
    try:
        decoded = decode_body(wire[start % 8 : len(wire) - end % len(wire)])
    except DecodeError:
        return
    assert decoded == body


@settings(max_examples=500)
@given(st.binary(max_size=400) | values.map(msgpack.packb))
def test_whatever_lies_in_an_honest_frame_is_refused_or_a_body(content: bytes) -> None:
    """The frame is intact, so all depends on the typed decode."""
    wire = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    try:
        decoded = decode_body(wire)
    except DecodeError:
        return
    assert decode_body(encode_body(decoded)) == decoded
