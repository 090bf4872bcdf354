"""Extensions are optional numbered fields at the end of our messages, for what later releases add.

On the wire: an array of `[number, bytes]`, numbers ascending. A reader ignores numbers that it does not know below
CRITICAL. From there on they change what the message means: whoever does not know one refuses the message, in words.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from swarm.wire import fields

Extensions = tuple[tuple[int, bytes], ...]

# All of these: Changing breaks what later releases may send to nodes of this one.
CRITICAL = 128
MAX_NUMBER = 255
MAX_EXTENSIONS = 8  # of one message
MAX_EXTENSION = 512  # bytes of one; the message's own bound counts too


class Reserved(IntEnum):
    """Numbers that are spoken for, so that no two releases give them to different things."""

    PIECES = 1  # announcement: root of a hash tree over the body's pieces, and their size
    RESERVATION = 2  # announcement: prompts that the publisher is working on
    TIMESTAMPS = 3  # announcement, stats: times that other peers signed
    ADDRESS_KINDS = 4  # requests, stats: kinds of address that the node cannot dial or does not take
    REFUSALS = 5  # fetch request: why rollouts of the asked peer's earlier bodies were left out


def encode(extensions: Extensions) -> list[list[Any]]:
    """As part of a message to pack."""
    return [list(pair) for pair in extensions]


def decode(value: Any, what: str) -> Extensions:
    """The extensions of a message called `what`. Raises DecodeError."""
    pairs = [
        fields.items(pair, 2, f"{what}: extension", least=2)
        for pair in fields.items(value, MAX_EXTENSIONS, f"{what}: extensions")
    ]
    numbers = [fields.integer(number, MAX_NUMBER, f"{what}: extension number") for number, _ in pairs]
    if numbers != sorted(set(numbers)):
        fields.refuse(f"{what}: extensions out of order")
    for number in numbers:
        if number >= CRITICAL:
            fields.refuse(
                f"{what} needs extension {number}, which this release does not know: upgrade this node"
            )
    contents = [content for _, content in pairs]
    if not all(isinstance(content, bytes) and len(content) <= MAX_EXTENSION for content in contents):
        fields.refuse(f"{what}: extension of more than {MAX_EXTENSION} bytes, or of another type")
    return tuple(zip(numbers, contents, strict=True))
