"""Typed readers of fields that came from outside: each returns the value or raises DecodeError.

`what` names the field in the error; the value itself is never repeated, so no peer writes into our logs.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgpack

from policies.install_hints import upgrade
from swarm.errors import DecodeError, OtherVersion
from swarm.limits import MAX_TASK_NAME, PROTOCOL_VERSION

# Names of tasks stand in columns and are matched by people: no blank, no sign that could end a column or a line.
_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@#/+-]*")
MAX_COUNT = 2**53  # integers up to here survive JSON and JavaScript


def refuse(what: str) -> NoReturn:
    raise DecodeError(what)


def unpack(raw: bytes, max_items: int = 64) -> Any:
    """One msgpack value without maps and extensions, of arrays of at most `max_items`. Raises DecodeError."""
    try:
        return msgpack.unpackb(raw, max_array_len=max_items, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise DecodeError("not msgpack within bounds") from error


def check_version(value: Any, who: str) -> None:
    """Raises OtherVersion when `who` speaks another version of the protocol, DecodeError for no version at all."""
    integer(value, 9999, f"{who}: no protocol version", low=1)
    if value != PROTOCOL_VERSION:
        older = who if value < PROTOCOL_VERSION else f"this node: {upgrade()}"
        words = f"{who} speaks protocol {value}, this node {PROTOCOL_VERSION}"
        raise OtherVersion(f"{words}: upgrade {older}")


def items(value: Any, most: int, what: str, *, least: int = 0) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        refuse(what)
    return value


def integer(value: Any, high: int, what: str, *, low: int = 0) -> int:
    if type(value) is not int or not low <= value <= high:  # a bool is an int to isinstance
        refuse(what)
    return value


def number(value: Any, low: float, high: float, what: str) -> float:
    # NaN fails both comparisons. It matters: one NaN expiry stops eviction on a DHT node for ever.
    if not isinstance(value, float) or not low <= value <= high:
        refuse(what)
    return value


def text(value: Any, most: int, what: str) -> str:
    # Printable ASCII: names reach terminals and web pages, so no control, escape or look-alike characters.
    if not isinstance(value, str) or len(value) > most or printable(value) != value:
        refuse(what)
    return value


def task_name(value: Any, what: str) -> str:
    """A task's name, as in `sort@1` or `rg:chain_sum@0.1.25-2#0a1b2c3d`."""
    name = text(value, MAX_TASK_NAME, what)
    if not _TASK_NAME.fullmatch(name):
        refuse(what)
    return name


def raw(value: Any, size: int, what: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        refuse(what)
    return value


def printable(value: str) -> str:
    """`value` with a question mark for every character that is not printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)
