"""The manifest holds the rules that all peers of a swarm share; the invite carries it.

A swarm's id is the hash of its manifest: whoever joins with other rules is in another swarm. An invite holds
the whole manifest, so nothing has to be fetched or trusted before joining.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import msgpack

from policies.tasks.task import Param, TaskSpec
from swarm.errors import DecodeError, InviteError
from swarm.limits import MANIFEST_VERSION, MAX_SHARD_DEPTH, MEMBER_KEY_SIZE
from swarm.wire import fields

# Changing breaks: manifests that carry more are refused by others.
MAX_NAME = 64
MAX_TASKS = 32
MAX_PARAMS = 32  # of one task
MAX_PARAM_TEXT = 1024
MIN_EPOCH, MAX_EPOCH = 1.0, 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Manifest:
    """Raises InviteError when a value is out of bounds, saying which."""

    name: str
    tasks: tuple[TaskSpec, ...]
    epoch_seconds: float = 60.0  # how long an announcement's shard stays the one that readers look in first
    shard_depth: int = 0  # log2 of shards an epoch: 0 up to about 40 nodes, then log2(nodes / 24)
    member_key: bytes = b""  # of a private swarm: only who holds the secret behind it takes part
    form: int = MANIFEST_VERSION

    def __post_init__(self) -> None:
        try:
            _from_values(self._values())
        except DecodeError as error:
            raise InviteError(f"manifest: {error}") from error

    @property
    def swarm_id(self) -> str:
        """32 hex digits over the canonical form."""
        return hashlib.sha256(b"murmur-manifest-1\0" + self.encode()).hexdigest()[:32]

    def encode(self) -> bytes:
        """The canonical form: equal manifests, equal bytes."""
        packed: bytes = msgpack.packb(self._values())
        return packed

    @classmethod
    def decode(cls, raw: bytes) -> Manifest:
        """Raises InviteError."""
        try:
            return cls(*_from_values(fields.unpack(raw)))
        except DecodeError as error:
            raise InviteError(f"manifest: {error}") from error

    def _values(self) -> list[Any]:
        tasks = [[t.name, [[k, v] for k, v in sorted(t.params.items())]] for t in self.tasks]
        place = [float(self.epoch_seconds), self.shard_depth]
        return [self.form, self.name, tasks, *place, self.member_key]


def _from_values(values: Any) -> tuple[str, tuple[TaskSpec, ...], float, int, bytes, int]:
    form, name, tasks, epoch_seconds, depth, key = fields.items(values, 6, "its form", least=6)
    if form != MANIFEST_VERSION:
        fields.refuse(f"its form has another version than {MANIFEST_VERSION}: use a matching release")
    return (
        fields.text(name, MAX_NAME, f"name; at most {MAX_NAME} printable ASCII characters"),
        tuple(_task(t) for t in fields.items(tasks, MAX_TASKS, f"tasks; 1 to {MAX_TASKS}", least=1)),
        fields.number(epoch_seconds, MIN_EPOCH, MAX_EPOCH, f"epoch; {MIN_EPOCH:g} to {MAX_EPOCH:g} seconds"),
        fields.integer(depth, MAX_SHARD_DEPTH, f"shard depth; 0 to {MAX_SHARD_DEPTH}"),
        read_key(key, "member key"),
        fields.integer(form, MANIFEST_VERSION, "version of its form"),
    )


def read_key(value: Any, what: str) -> bytes:
    """A key of a private swarm, or nothing in an open one."""
    return b"" if value == b"" else fields.raw(value, MEMBER_KEY_SIZE, what)


def _task(values: Any) -> TaskSpec:
    name, params = fields.items(values, 2, "task", least=2)
    pairs = [
        fields.items(p, 2, "task parameter", least=2) for p in fields.items(params, MAX_PARAMS, "params")
    ]
    keys = [fields.text(key, MAX_NAME, "name of a task parameter") for key, _ in pairs]
    if keys != sorted(set(keys)):
        fields.refuse("task parameters out of order")
    return TaskSpec(
        fields.task_name(name, "task name; letters, digits and _.:@#/+-"),
        {key: _param(value) for key, (_, value) in zip(keys, pairs, strict=True)},
    )


def _param(value: Any) -> Param:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return fields.integer(value, fields.MAX_COUNT, "task parameter", low=-fields.MAX_COUNT)
    if isinstance(value, float) and math.isfinite(value):
        return value
    return fields.text(value, MAX_PARAM_TEXT, "task parameter")
