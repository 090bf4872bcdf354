"""Invites: they carry everything, and no changed character gets past their checksum."""

from __future__ import annotations

import random
import string

import msgpack
import pytest

from policies.tasks.task import TaskSpec
from swarm.errors import InviteError
from swarm.wire.identity import Identity
from swarm.wire.invite import MAX_INVITE, Invite, seal
from swarm.wire.manifest import Manifest
from swarm.wire.membership import member_key

PEER = Identity(bytes(32)).peer_id
ADDRESS = f"/ip4/203.0.113.7/tcp/4001/p2p/{PEER}"
TASKS = (TaskSpec("sort"), TaskSpec("rg:chain_sum", {"max_terms": 4, "easy": True, "p": 0.5, "mode": "x"}))
RAW = Manifest("flock", TASKS).encode()
SECRET = bytes(range(32))
OPEN = Invite(Manifest("flock", TASKS), (ADDRESS,))
PRIVATE = Invite(Manifest("flock", TASKS[:1], member_key=member_key(SECRET)), (ADDRESS,), SECRET)


def test_an_invite_carries_everything() -> None:
    invite = Invite(Manifest("flock", TASKS, epoch_seconds=30.0, shard_depth=2), (ADDRESS,))
    text = invite.encode()
    assert text.startswith("murmur2:")
    assert len(text) < 600
    assert text.isascii() and not any(c.isspace() for c in text)
    assert Invite.decode(f"  {text}\n") == invite


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (ADDRESS.replace("tcp", "udp"), "not of the form"),
        ("/ip4/203.0.113.7/tcp/4001", "must end in /p2p/"),
        (f"/ip4/203.0.113.7/tcp/0/p2p/{PEER}", "needs a port"),
        (f"/ip4/203.0.113.7/tcp/70000/p2p/{PEER}", "host and port"),
        (f"/ip4/2001:db8::1/tcp/1/p2p/{PEER}", "host and port"),
        (f"/dns4/exa mple.org/tcp/1/p2p/{PEER}", "host and port, as /dns/node.example.org/tcp/4001 has"),
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


def wrap(*values: object) -> str:
    return seal(msgpack.packb(values))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "starts with"),
        ("murmur:AAAA", "starts with"),
        ("/ip4/203.0.113.7/tcp/4001", "starts with"),
        ("murmur1:AAAA", r"made this invite speaks protocol 1, this node 2: upgrade the node .* new invite"),
        ("murmur3:AAAA", r"made this invite speaks protocol 3, this node 2: upgrade this node"),
        ("murmur0:AAAA", "starts with"),
        ("murmur2:", "damaged"),
        ("murmur2:!!!!", "damaged"),
        ("murmur2:" + "A" * MAX_INVITE, "at most"),
        (wrap(), "damaged"),
        (wrap("text", []), "damaged"),
        (wrap(b"\xc1", [], b"", []), "manifest"),
        (wrap(RAW, [ADDRESS] * 9, b"", []), "bootstrap addresses"),
        (wrap(RAW, [7], b"", []), "bootstrap address"),
        (wrap(RAW, [], b"", []), "no peer to join through: .*; ask for a new one"),
        (wrap(RAW, ["/ip4/1.2.3.4/tcp/1"], b"", []), "/p2p/"),
        (wrap(RAW, [ADDRESS], b"", [[128, b""]]), "extension 128, which this release does not know"),
    ],
)
def test_damaged_invites_say_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InviteError, match=why):
        Invite.decode(text)


def changed(text: str) -> list[str]:
    """Every replacement of one character by a printable or a foreign one, every loss, doubling, insertion and swap."""
    others = string.printable.strip() + " \n\tаＡé\u200b\u2028"
    found = []
    for place, character in enumerate(text):
        before, after = text[:place], text[place + 1 :]
        found += [before + other + after for other in others if other != character]
        found += [before + after, before + character + character + after]
        found += [before + other + character + after for other in "AaZz09-_=+/ \n"]
        found += [before + after[:1] + character + after[1:]]
    found += [text + other for other in string.ascii_letters + string.digits + "-_=+/."]
    found += [text[:length] for length in range(len(text))]
    return found


@pytest.mark.parametrize("invite", [OPEN, PRIVATE], ids=["open", "private"])
def test_every_change_of_one_character_is_refused_in_words(invite: Invite) -> None:
    text = invite.encode()
    wrong = [other for other in changed(text) if other.strip() != text]
    assert len(wrong) > 100 * len(text)
    for other in wrong:
        with pytest.raises(InviteError, match=r"damaged|starts with|speaks protocol [0-9]+, this node 2"):
            Invite.decode(other)


def test_changes_of_case_and_of_several_characters_are_refused() -> None:
    text = OPEN.encode()
    rng = random.Random(5)
    wrong = [text.upper(), text.lower(), text.swapcase(), text * 2, text[::-1]]
    for _ in range(3000):
        letters = list(text)
        for place in rng.sample(range(8, len(text)), rng.randrange(2, 6)):
            letters[place] = rng.choice(string.ascii_letters + string.digits + "-_")
        wrong.append("".join(letters))
    for other in wrong:
        if other != text:
            with pytest.raises(InviteError):
                Invite.decode(other)


def test_an_extension_of_a_later_release_is_ignored() -> None:
    assert Invite.decode(wrap(RAW, [ADDRESS], b"", [[7, b"news"]])) == OPEN
