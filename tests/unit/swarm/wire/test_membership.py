"""Private swarms: the invite's secret, members' tokens, and every place that asks for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter, AnnouncementRefused
from swarm.errors import InviteError
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest
from swarm.wire.membership import Membership, member_key, new_secret

ALICE, MALLORY = Identity.ephemeral(), Identity.ephemeral()
SECRET = new_secret()
PRIVATE = replace(MANIFEST, member_key=member_key(SECRET))
ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{ALICE.peer_id}"


def test_a_token_admits_its_peer_to_its_swarm_alone() -> None:
    alice = Membership.of(PRIVATE, SECRET, ALICE.peer_id)
    mallory = Membership.of(PRIVATE, SECRET, MALLORY.peer_id)
    elsewhere = Membership.of(replace(PRIVATE, name="elsewhere"), SECRET, ALICE.peer_id)
    assert mallory.admits(ALICE.peer_id, alice.token)
    assert not mallory.admits(MALLORY.peer_id, alice.token)
    assert not elsewhere.admits(ALICE.peer_id, alice.token)
    assert not mallory.admits(ALICE.peer_id, b"")
    assert not mallory.admits(ALICE.peer_id, alice.token[:-1])
    assert not mallory.admits("nobody", alice.token[:-1] + bytes([alice.token[-1] ^ 1]))


def test_everybody_is_a_member_of_an_open_swarm() -> None:
    own = Membership.of(MANIFEST, b"", ALICE.peer_id)
    assert own.token == b""
    assert own.admits(MALLORY.peer_id, b"") and own.admits(MALLORY.peer_id, b"x" * 64)


@pytest.mark.parametrize("secret", [b"", b"short", bytes(32)])
def test_a_wrong_secret_is_told_before_anything_starts(secret: bytes) -> None:
    with pytest.raises(InviteError, match="whole invite"):
        Membership.of(PRIVATE, secret, ALICE.peer_id)


def test_an_invite_carries_the_secret_and_hides_it_from_logs() -> None:
    invite = Invite(PRIVATE, (ADDRESS,), SECRET)
    assert Invite.decode(invite.encode()) == invite
    assert repr(SECRET) not in repr(invite) and SECRET.hex() not in repr(invite)
    for manifest, secret in ((PRIVATE, b""), (MANIFEST, SECRET)):
        with pytest.raises(InviteError, match="private"):
            Invite(manifest, (ADDRESS,), secret)


def test_a_private_swarm_has_an_id_that_needs_the_invite() -> None:
    assert len({MANIFEST.swarm_id, PRIVATE.swarm_id, replace(MANIFEST, member_key=bytes(32)).swarm_id}) == 3


def test_the_gate_of_a_private_swarm_refuses_who_shows_no_token() -> None:
    announcement_filter = AnnouncementFilter(PRIVATE, clock=lambda: NOW + 1.0)
    token = Membership.of(PRIVATE, SECRET, ALICE.peer_id).token
    inside = {"swarm": PRIVATE.swarm_id}
    assert announcement_filter.admit(announce(ALICE, **inside, token=token).encode()).peer == ALICE.peer_id
    for identity, shown in ((ALICE, b""), (MALLORY, token), (MALLORY, bytes(64))):
        with pytest.raises(AnnouncementRefused, match="membership"):
            announcement_filter.admit(announce(identity, **inside, token=shown).encode())
    assert announcement_filter.refused == {"membership": 3}


def test_manifests_with_half_a_key_are_refused() -> None:
    with pytest.raises(InviteError, match="member key"):
        Manifest("flock", MANIFEST.tasks, member_key=b"half")
