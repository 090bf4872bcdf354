"""The body codec: the only place where body bytes become objects.

Past `decode_body` every field is typed, bounded and finite. Whether it is true, the verifier asks.
"""

from __future__ import annotations

from typing import Any

import msgpack
import zstandard

from policies.rollout import Finish
from policies.tasks.task import MAX_SEED
from swarm.errors import DecodeError
from swarm.limits import (
    BODY_VERSION,
    MAX_BODY,
    MAX_BODY_RAW,
    MAX_BODY_ROLLOUTS,
    MAX_BODY_WINDOW,
    MAX_FINGERPRINT,
    MAX_GROUP_IMAGES,
    MAX_GROUPS,
    MAX_ID,
    MAX_IMAGE,
    MAX_ROLLOUTS,
    MAX_TEXT,
)
from swarm.wire import fields
from swarm.wire.body import FINISHED, Body, SharedGroup, SharedRollout

# msgpack reads the frame in pieces of this size: what breaks the form is refused after one of them.
_PIECE = 64 * 1024
_FINISHES = {finish.value: finish for finish in FINISHED}  # an unfinished rollout does not travel


def encode_body(body: Body) -> bytes:
    """msgpack of nested arrays in one zstd frame that declares its size and carries a checksum.

    Raises ValueError when the result is larger than a peer would take.
    """
    packed: bytes = msgpack.packb(_as_arrays(body))
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True)
    wire = compressor.compress(packed)
    if len(packed) > MAX_BODY_RAW or len(wire) > MAX_BODY:
        raise ValueError(f"body of {len(wire)} bytes is over {MAX_BODY}: publish fewer groups at once")
    return wire


def decode_body(wire: bytes) -> Body:
    """The body in untrusted bytes. Raises DecodeError, with a message free of the sender's text."""
    try:
        frame = _Frame(wire)
        read = _Fields(frame)
        body = _read_body(read)
        read.end()
        frame.end()
    except (ValueError, msgpack.UnpackException, zstandard.ZstdError) as error:
        raise DecodeError(f"body does not parse ({type(error).__name__})") from error
    return body


class _Frame:
    """The content of one zstd frame, read piece by piece and never beyond the size that its header declares.

    `max_output_size` of zstandard does not bound frames that declare a size, so the header is read first.
    """

    def __init__(self, wire: bytes) -> None:
        if len(wire) > MAX_BODY:
            raise DecodeError(f"body of {len(wire)} bytes, the limit is {MAX_BODY}")
        header = zstandard.get_frame_parameters(wire)
        # An undeclared size reads as 2**64 - 1 and is refused with the rest.
        if header.content_size > MAX_BODY_RAW:
            raise DecodeError(f"body declares {header.content_size} bytes raw, the limit is {MAX_BODY_RAW}")
        if header.window_size > MAX_BODY_WINDOW:
            raise DecodeError(f"body asks for a window of {header.window_size} bytes")
        if not header.has_checksum:
            raise DecodeError("body has no checksum")
        self._left = header.content_size
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_BODY_WINDOW)
        # Across frames, so that bytes after the frame are parsed, and refused, instead of overlooked.
        self._stream = decompressor.stream_reader(wire, read_across_frames=True)

    def read(self, count: int) -> bytes:
        piece = self._stream.read(min(count, self._left + 1))
        if len(piece) > self._left:
            raise DecodeError("body is longer than it declares")
        self._left -= len(piece)
        return piece

    def end(self) -> None:
        if self.read(1) or self._left:
            raise DecodeError("body is shorter than it declares")


class _Fields:
    """Fields off a msgpack stream, one at a time.

    Containers are only ever opened by `array`, which builds nothing: the unpacker itself accepts scalars
    alone, so neither nesting nor a lying length can make it allocate.
    """

    def __init__(self, frame: _Frame) -> None:
        self._unpacker = msgpack.Unpacker(
            frame,
            raw=False,
            read_size=_PIECE,
            max_buffer_size=2 * (MAX_IMAGE + _PIECE),
            max_str_len=MAX_TEXT,
            max_array_len=0,
            max_map_len=0,
            max_bin_len=MAX_IMAGE,
            max_ext_len=0,
        )

    def array(self, least: int, most: int, what: str) -> int:
        """Opens an array and returns its length, which the caller then reads field by field."""
        length: int = self._unpacker.read_array_header()
        if not least <= length <= most:
            raise DecodeError(f"body: {what}: {length} entries, expected {least} to {most}")
        return length

    def integer(self, high: int, what: str) -> int:
        return fields.integer(self._unpacker.unpack(), high, f"body: {what}")

    def share(self, what: str) -> float:
        return fields.number(self._unpacker.unpack(), 0.0, 1.0, f"body: {what}")

    def name(self, most: int, what: str) -> str:
        return fields.text(self._unpacker.unpack(), most, f"body: {what}")

    def task_name(self) -> str:
        return fields.task_name(self._unpacker.unpack(), "body: task")

    def text(self, what: str) -> str:
        value = self._unpacker.unpack()
        if not isinstance(value, str) or len(value.encode()) > MAX_TEXT:
            raise DecodeError(f"body: {what}: not text of at most {MAX_TEXT} bytes")
        return value

    def image(self, what: str) -> bytes:
        value = self._unpacker.unpack()
        if not isinstance(value, bytes) or not 0 < len(value) <= MAX_IMAGE:
            raise DecodeError(f"body: {what}: not an image of at most {MAX_IMAGE} bytes")
        return value

    def finish(self, what: str) -> Finish:
        value = self._unpacker.unpack()
        if not isinstance(value, str) or value not in _FINISHES:
            raise DecodeError(f"body: {what}: not one of {', '.join(_FINISHES)}")
        return _FINISHES[value]

    def end(self) -> None:
        if self._unpacker.read_bytes(1):
            raise DecodeError("body goes on after its last group")


def _as_arrays(body: Body) -> list[Any]:
    groups = [
        [
            group.task,
            group.seed,
            [_rollout_array(rollout) for rollout in group.rollouts],
        ]
        for group in body.groups
    ]
    return [
        BODY_VERSION,
        body.swarm,
        body.sender,
        body.fingerprint,
        body.policy_version,
        body.round,
        groups,
    ]


def _rollout_array(rollout: SharedRollout) -> list[Any]:
    """Of text as it was before images travelled, so that old and new nodes of a swarm of text understand each other."""
    array = [rollout.text, rollout.finish.value, rollout.claimed_reward]
    return [*array, rollout.image] if rollout.image else array


def _read_body(read: _Fields) -> Body:
    read.array(7, 7, "fields")
    version = read.integer(2**16, "version")
    if version != BODY_VERSION:
        raise DecodeError(f"body: version {version}, this node reads {BODY_VERSION}")
    swarm, sender = read.name(MAX_ID, "swarm"), read.name(MAX_ID, "sender")
    fingerprint = read.name(MAX_FINGERPRINT, "fingerprint")
    policy_version = read.integer(fields.MAX_COUNT, "policy version")
    round_ = read.integer(fields.MAX_COUNT, "round")
    groups: list[SharedGroup] = []
    rollouts_left = MAX_BODY_ROLLOUTS
    for _ in range(read.array(1, MAX_GROUPS, "groups")):
        groups.append(_read_group(read, min(MAX_ROLLOUTS, rollouts_left)))
        rollouts_left -= len(groups[-1].rollouts)
    return Body(swarm, sender, fingerprint, policy_version, round_, tuple(groups))


def _read_group(read: _Fields, most: int) -> SharedGroup:
    read.array(3, 3, "group")
    task = read.task_name()
    seed = read.integer(MAX_SEED, "seed")
    count = read.array(1, most, "rollouts")
    rollouts = tuple(_read_rollout(read) for _ in range(count))
    if sum(bool(rollout.image) for rollout in rollouts) > MAX_GROUP_IMAGES:
        raise DecodeError(f"body: group of more than {MAX_GROUP_IMAGES} images")
    return SharedGroup(task, seed, rollouts)


def _read_rollout(read: _Fields) -> SharedRollout:
    fields_of_it = read.array(3, 4, "rollout")
    text, finish, claim = read.text("completion"), read.finish("finish"), read.share("claimed reward")
    return SharedRollout(text, finish, claim, read.image("image") if fields_of_it == 4 else b"")
