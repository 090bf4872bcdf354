"""Messages between a node and its transport process: settings first, then calls and answers.

Both ends are this program, so the frames carry plain msgpack; they are bounded all the same.
Down: `[settings, key file, newest publication]` once, then `[id, verb, arguments]`. Up: `[id, None, result]`
or `[id, error kind, message]`, and `[0, None, state]` at every change and at least every HEARTBEAT seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from swarm.errors import FetchFailed, InviteError, TransportDown, TransportError
from swarm.exchange.body_store import ServeLimits
from swarm.limits import MAX_BODY, MAX_LIFETIME, STREAM_TIMEOUT
from swarm.wire.announcement import Summary, TaskSummary
from swarm.wire.invite import check_bootstrap
from swarm.wire.manifest import Manifest
from swarm.wire.multiaddr import Address

LENGTH = struct.Struct(">I")
MAX_FRAME = MAX_BODY + 2**20
HEARTBEAT = 1.0  # seconds
SILENCE = 30.0  # seconds without a heartbeat after which a transport process counts as stuck
STATE = 0  # the id of states; calls count from 1

ERRORS: Mapping[str, type[TransportError]] = {
    "down": TransportDown,
    "fetch": FetchFailed,
    "refused": TransportError,
}


STARTING = "starting"  # what is told of a daemon that has not answered yet
# Of peers to join through that let this node in to the DHT, and answer none of its questions.
SHUT_OUT = "serves another swarm, or a private one: join with its whole invite"


@dataclass(frozen=True, slots=True)
class DhtSettings:
    """How to take part in a swarm. Raises InviteError for addresses that cannot be used."""

    manifest: Manifest
    bootstrap: tuple[str, ...] = ()  # multiaddrs ending in /p2p/<PeerID>; none: the first node of a swarm
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)  # none: reachable only over connections it dialled
    # Addresses to tell others, where they differ from `listen` (port forwards).
    announce: tuple[str, ...] = ()
    # For nodes that strangers cannot dial: they hold no part of the DHT and leave their bodies with mirrors.
    # None: becomes one when peers try to dial this node and cannot.
    client_mode: bool | None = None
    lan: bool = False  # True: tells the local network of this node by mDNS, and joins whom it hears of there
    relay: bool = False  # True: carries the traffic of nodes behind NATs
    lifetime: float = 600.0  # seconds that an announcement lives
    call_timeout: float = 10.0  # seconds
    start_timeout: float = 60.0  # seconds; hivemind takes 3 s to import on an idle core, 20 s on a busy one
    serve: ServeLimits = field(default_factory=ServeLimits)
    secret: bytes = field(default=b"", repr=False)  # of a private swarm
    rows: tuple[Path, ...] = ()  # files of shared rows that this node hands on
    peer_cache: Path | None = None  # where to remember peers for the next start; None: nowhere
    log: Path | None = None  # stderr of the transport process

    def __post_init__(self) -> None:
        for text in self.bootstrap:
            check_bootstrap(text)
        for text in self.listen:
            Address.parse(text)
        for text in self.announce:
            if Address.parse(text).port == 0:
                raise InviteError(f"announced address {text!r} needs the port that others shall dial")
        if not 0 < self.lifetime <= MAX_LIFETIME:
            raise ValueError(f"lifetime of {self.lifetime} s; at most {MAX_LIFETIME:g}")

    def to_wire(self) -> dict[str, Any]:
        cache = str(self.peer_cache.resolve()) if self.peer_cache else None
        rows = [str(path.resolve()) for path in self.rows]
        plain = {"manifest": self.manifest.encode(), "rows": rows, "peer_cache": cache, "log": None}
        return asdict(self) | plain

    @classmethod
    def from_wire(cls, values: dict[str, Any]) -> DhtSettings:
        sequences = {name: tuple(values[name]) for name in ("bootstrap", "listen", "announce")}
        manifest, serve = Manifest.decode(values["manifest"]), ServeLimits(**values["serve"])
        cache = Path(values["peer_cache"]) if values["peer_cache"] else None
        rows = tuple(map(Path, values["rows"]))
        typed = {"manifest": manifest, "serve": serve, "rows": rows, "peer_cache": cache}
        return cls(**values | sequences | typed)


def summary_from_wire(values: list[Any]) -> Summary:
    """The inverse of `dataclasses.astuple`. Bounds are checked when the announcement is signed."""
    round, policy_version, fingerprint, groups, rollouts, tasks = values
    claims = tuple(TaskSummary(*task) for task in tasks)
    return Summary(round, policy_version, fingerprint, groups, rollouts, claims)


def call_deadline(verb: str, settings: DhtSettings) -> float:
    """Seconds after which a call has failed, whatever the network does."""
    # A body or a piece of rows goes over a stream: from its publisher, or to the mirrors of one that cannot be dialled.
    streams = verb in ("fetch", "rows") or (verb == "publish" and settings.client_mode is not False)
    return max(STREAM_TIMEOUT, settings.call_timeout) if streams else settings.call_timeout


def pack(message: Any) -> bytes:
    payload = msgpack.packb(message)
    if len(payload) > MAX_FRAME:
        raise ValueError(f"ipc frame of {len(payload)} bytes; at most {MAX_FRAME}")
    frame: bytes = LENGTH.pack(len(payload)) + payload
    return frame


def unpack(payload: bytes) -> Any:
    """Raises TransportError for what `pack` did not make."""
    try:
        return msgpack.unpackb(payload)
    except (ValueError, msgpack.UnpackException) as error:
        raise TransportError("ipc frame that holds no message") from error


def unpack_message(payload: bytes) -> tuple[int, str | None, Any]:
    """A call's id, verb or kind of error, and what comes with it. Raises TransportError."""
    message = unpack(payload)
    if not isinstance(message, list) or len(message) != 3:
        raise TransportError("ipc frame that holds no call and no answer")
    call, kind, content = message
    if type(call) is not int or not (kind is None or isinstance(kind, str)):
        raise TransportError("ipc frame that holds no call and no answer")
    return call, kind, content


def frame_length(header: bytes) -> int:
    """Raises TransportError for a frame that is too long to be one of ours."""
    length: int = LENGTH.unpack(header)[0]
    if length > MAX_FRAME:
        raise TransportError(f"ipc frame of {length} bytes")
    return length
