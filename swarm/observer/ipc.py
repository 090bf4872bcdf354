"""Reports of the observer to its parent: one JSON object a line. Both ends are this program.

Down: a line of orders, then an empty line for every look. Up: any number of offers, figures and silences, then
one `done`, or `down` when nobody of the swarm answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

import psutil

from policies.plain_files import parse_json
from swarm.errors import DecodeError
from swarm.limits import MAX_STATS
from swarm.wire.manifest import Manifest

MAX_LINE = 4 * MAX_STATS  # bytes; the longest carries one answer of figures in hex


@dataclass(frozen=True, slots=True)
class Orders:
    """The only line down that says anything."""

    manifest: Manifest
    bootstrap: tuple[str, ...]
    seed: bytes  # 32 bytes: the throw-away key that names the observer
    token: bytes  # that key's proof of membership in a private swarm; else empty

    def encode(self) -> str:
        orders = [self.manifest.encode().hex(), self.bootstrap, self.seed.hex(), self.token.hex()]
        return json.dumps(orders)

    @classmethod
    def decode(cls, line: str) -> Orders:
        manifest, bootstrap, seed, token = parse_json(line)
        rules = Manifest.decode(bytes.fromhex(manifest))
        return cls(rules, tuple(bootstrap), bytes.fromhex(seed), bytes.fromhex(token))


@dataclass(frozen=True, slots=True)
class Offer:
    """An announcement that passed the filter."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    """A peer's stats, in bounds."""

    peer: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Silent:
    """A peer that gave no stats, and why."""

    peer: str
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a look."""

    nodes: int  # DHT nodes that answered
    refused: Mapping[str, int]  # announcements, by the filter's reasons, since the observer started
    resident: int  # bytes of memory of the observer

    @classmethod
    def now(cls, nodes: int, refused: Mapping[str, int]) -> Done:
        return cls(nodes, refused, psutil.Process().memory_info().rss)


@dataclass(frozen=True, slots=True)
class Down:
    """The end of a look that saw no swarm."""

    why: str


Report: TypeAlias = Offer | Figures | Silent | Done | Down
_KINDS: Mapping[str, type[Report]] = {
    kind.__name__.lower(): kind for kind in (Offer, Figures, Silent, Done, Down)
}


def encode(report: Report) -> str:
    values = {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(report).items()}
    return json.dumps({"kind": type(report).__name__.lower()} | values)


def tell(report: Report) -> None:
    sys.stdout.write(encode(report) + "\n")
    sys.stdout.flush()


def decode(line: bytes) -> Report:
    """Raises DecodeError."""
    try:
        values = parse_json(line)
        kind = _KINDS[values.pop("kind")]
        if "raw" in values:
            values["raw"] = bytes.fromhex(values["raw"])
        report: Report = kind(**values)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DecodeError("not a line of the observer") from error
    return report
