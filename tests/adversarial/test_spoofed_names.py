"""Names that would end a column or a line, or look like another: refused on the wire, in invites and in configs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgpack
import pytest
import zstandard
from announcing import MANIFEST, SUMMARY, announce
from fakes import MALLORY, body_of, offer, shared_group, verifier

from policies.tasks.task import TaskSpec
from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.errors import DecodeError, InviteError
from swarm.wire.announcement import TaskSummary
from swarm.wire.identity import Identity
from swarm.wire.manifest import Manifest

SPOOFED = [
    "sort@1   0.99  known",
    " sort@1",
    "sort@1\n",
    "sort@1\x1b[2K",
    "sort\u200b@1",
    "s\u043ert@1",  # a Cyrillic letter
    "sort@1|99",
    "[bold]sort@1",
    "<b>sort</b>",
    "",
    "-sort",
    "s" * 97,
]
REAL = [
    "sort@1",
    "rg:chain_sum@0.1.25#0a1b2c3d",
    "digits@1",
    "hpsv2@2.1",
    "rg:x@1.0.dev0+g12ab",
    "env:org/name@2",
]


@pytest.mark.parametrize("name", SPOOFED)
def test_a_task_is_not_called_so_in_announcements(name: str) -> None:
    summary = replace(SUMMARY, tasks=(TaskSummary(name, 1, 0.5),))
    with pytest.raises(DecodeError):
        announce(Identity(bytes(32)), summary=summary)


def test_the_filter_counts_such_an_announcement_as_malformed() -> None:
    honest = announce(Identity(bytes(32)))
    assert b"sort@1" in honest.encode()
    keeper = AnnouncementFilter(MANIFEST, lambda: honest.created)
    with pytest.raises(AnnouncementRefused):
        keeper.admit(honest.encode().replace(b"sort@1", b"so t@1"))
    assert keeper.refused == {"malformed": 1}


@pytest.mark.parametrize("name", SPOOFED)
def test_a_task_is_not_called_so_in_bodies(name: str) -> None:
    body = body_of([shared_group(1, ("a", 0.0), ("b", 1.0))], MALLORY)
    announcement, wire = offer(body)
    values = msgpack.unpackb(zstandard.decompress(wire))
    values[-1][0][0] = name
    packed = msgpack.packb(values)
    wire = zstandard.ZstdCompressor(write_checksum=True).compress(packed)
    announcement = replace(announcement, size=len(wire), digest=hashlib.sha256(wire).digest())
    [(verdict, group)] = verifier().verify(announcement, wire)
    assert (verdict.label, group) == ("refused_decode", None)


@pytest.mark.parametrize("name", SPOOFED)
def test_a_swarms_task_is_not_called_so(name: str) -> None:
    with pytest.raises(InviteError, match="task name"):
        Manifest("flock", (TaskSpec(name),))


@pytest.mark.parametrize("name", REAL)
def test_names_in_use_pass(name: str) -> None:
    assert announce(Identity(bytes(32)), summary=replace(SUMMARY, tasks=(TaskSummary(name, 1, 0.5),)))
    assert Manifest("flock", (TaskSpec(name),)).tasks[0].name == name
