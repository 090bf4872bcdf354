"""Manifests and invites: equal rules, equal swarm; damaged invites say what is wrong."""

from __future__ import annotations

import base64
import math
import random

import msgpack
import pytest

from policies.tasks.task import TaskSpec
from swarm.errors import InviteError
from swarm.wire.identity import Identity
from swarm.wire.manifest import MAX_INVITE, Invite, Manifest

PEER = Identity(bytes(32)).peer_id
ADDRESS = f"/ip4/203.0.113.7/tcp/4001/p2p/{PEER}"
TASKS = (TaskSpec("sort"), TaskSpec("rg:chain_sum", {"max_terms": 4, "easy": True, "p": 0.5, "mode": "x"}))


def test_the_swarm_id_is_fixed_by_the_rules_alone() -> None:
    manifest = Manifest("flock", TASKS)
    reordered = TaskSpec("rg:chain_sum", dict(reversed(list(TASKS[1].params.items()))))
    assert Manifest("flock", (TASKS[0], reordered)).swarm_id == manifest.swarm_id
    # A golden value: it changes only together with the protocol version.
    assert Manifest("flock", (TaskSpec("sort"),)).swarm_id == "ae004c2258cf7163adfca638713eda15"
    others = [
        Manifest("flocks", TASKS),
        Manifest("flock", TASKS[:1]),
        Manifest("flock", (TASKS[0], TaskSpec("rg:chain_sum", {**TASKS[1].params, "easy": 1}))),
        Manifest("flock", TASKS, epoch_seconds=61.0),
        Manifest("flock", TASKS, shard_depth=1),
    ]
    assert len({m.swarm_id for m in [manifest, *others]}) == 6
    assert all(len(m.swarm_id) == 32 and set(m.swarm_id) <= set("0123456789abcdef") for m in others)


def test_an_invite_carries_everything() -> None:
    invite = Invite(Manifest("flock", TASKS, epoch_seconds=30.0, shard_depth=2), (ADDRESS,))
    text = invite.encode()
    assert text.startswith("murmur1:")
    assert len(text) < 600
    assert text.isascii() and not any(c.isspace() for c in text)
    assert Invite.decode(f"  {text}\n") == invite


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"name": ""}, None),
        ({"name": "n" * 65}, "name"),
        ({"name": "\x1b[31m"}, "name"),
        ({"tasks": ()}, "tasks"),
        ({"tasks": TASKS * 17}, "tasks"),
        ({"tasks": (TaskSpec("t" * 97),)}, "task name"),
        ({"tasks": (TaskSpec("t", {"x": math.nan}),)}, "task parameter"),
        ({"tasks": (TaskSpec("t", {"x": 2**60}),)}, "task parameter"),
        ({"tasks": (TaskSpec("t", {"x": "y" * 257}),)}, "task parameter"),
        ({"epoch_seconds": 0.0}, "epoch"),
        ({"epoch_seconds": math.inf}, "epoch"),
        ({"shard_depth": 21}, "shard depth"),
        ({"protocol": 2}, "protocol version"),
    ],
)
def test_rules_out_of_bounds_name_the_part(values: dict[str, object], part: str | None) -> None:
    settings = {"name": "flock", "tasks": TASKS} | values
    if part is None:
        Manifest(**settings)  # type: ignore[arg-type]
        return
    with pytest.raises(InviteError, match=part):
        Manifest(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (ADDRESS.replace("tcp", "udp"), "not of the form"),
        ("/ip4/203.0.113.7/tcp/4001", "must end in /p2p/"),
        (f"/ip4/203.0.113.7/tcp/0/p2p/{PEER}", "needs a port"),
        (f"/ip4/203.0.113.7/tcp/70000/p2p/{PEER}", "host and port"),
        (f"/ip4/2001:db8::1/tcp/1/p2p/{PEER}", "host and port"),
        (f"/dns4/exa mple.org/tcp/1/p2p/{PEER}", "host and port"),
        ("/ip4/203.0.113.7/tcp/1/p2p/12D3KooWbogus", "Ed25519"),
    ],
)
def test_bootstrap_addresses_that_cannot_work_are_refused(address: str, why: str) -> None:
    with pytest.raises(InviteError, match=why):
        Invite(Manifest("flock", TASKS), (address,))


def test_addresses_of_every_family_are_taken() -> None:
    hosts = ["/ip6/2001:db8::1", "/dns/example.org", "/dns4/node-1.example.org", "/dns6/localhost"]
    addresses = tuple(f"{host}/tcp/4001/p2p/{PEER}" for host in hosts)
    assert Invite.decode(Invite(Manifest("flock", TASKS), addresses).encode()).bootstrap == addresses


def wrap(value: object) -> str:
    return "murmur1:" + base64.urlsafe_b64encode(msgpack.packb(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "starts with"),
        ("murmur2:AAAA", "starts with"),
        ("murmur1:", "damaged"),
        ("murmur1:!!!!", "damaged"),
        ("murmur1:" + "A" * MAX_INVITE, "at most"),
        (wrap([]), "damaged"),
        (wrap(["text", []]), "damaged"),
        (wrap([b"\xc1", [], b""]), "manifest"),
        (wrap([Manifest("flock", TASKS).encode(), [ADDRESS] * 9, b""]), "bootstrap addresses"),
        (wrap([Manifest("flock", TASKS).encode(), [7], b""]), "bootstrap address"),
        (wrap([Manifest("flock", TASKS).encode(), ["/ip4/1.2.3.4/tcp/1"], b""]), "/p2p/"),
    ],
)
def test_damaged_invites_say_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InviteError, match=why):
        Invite.decode(text)


def test_no_change_of_characters_gets_past_the_door() -> None:
    text = Invite(Manifest("flock", TASKS), (ADDRESS,)).encode()
    rng = random.Random(5)
    for _ in range(2000):
        position = rng.randrange(8, len(text))
        changed = text[:position] + rng.choice("ABCxyz019-_=~ ") + text[position + 1 :]
        try:
            Invite.decode(changed)
        except InviteError:
            continue
