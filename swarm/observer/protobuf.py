"""The part of protobuf's wire format that the observer's few messages need.

The protobuf runtime builds every sub-message of a frame before their number can be looked at; this reader stops
at a bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarm.wire.fields import refuse

MAX_VARINT = 10  # bytes of a 64-bit number
_FIXED = {1: 8, 5: 4}  # bytes of a value, by wire type


def varint(value: int) -> bytes:
    """Raises ValueError below 0."""
    if value < 0:
        raise ValueError(f"varint of {value}")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def field(number: int, payload: bytes) -> bytes:
    """One length-delimited field: bytes, text or a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def delimited(message: bytes) -> bytes:
    """`message` with its length in front, as libp2p streams carry messages."""
    return varint(len(message)) + message


def read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends. Raises DecodeError."""
    value = 0
    for shift, byte in enumerate(raw[at : at + MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    refuse("a number without an end")


def read(raw: bytes, most: int) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message: an int for a varint, else bytes.

    Raises DecodeError for what is no message, and after `most` fields.
    """
    at, count = 0, 0
    while at < len(raw):
        if count == most:
            refuse(f"message of over {most} fields")
        key, at = read_varint(raw, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = read_varint(raw, at)
            yield number, value
        else:
            size, at = read_varint(raw, at) if kind == 2 else (_FIXED.get(kind, len(raw)), at)
            if at + size > len(raw):
                refuse("a field cut short, or of an unknown kind")
            yield number, raw[at : at + size]
            at += size
        count += 1


def values(raw: bytes, number: int, most: int) -> list[bytes]:
    """The length-delimited fields of that number. Raises DecodeError."""
    return [value for found, value in read(raw, most) if found == number and isinstance(value, bytes)]
