"""Private swarms: who holds the swarm's secret may take part, and proves it without showing the secret.

The secret is an Ed25519 seed that only the invite carries; the manifest names its public key. A member's token
is a signature over its PeerID: of no use to anybody who does not hold that peer's own key too.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarm.errors import DecodeError, InviteError
from swarm.limits import MEMBER_KEY_SIZE, TOKEN_SIZE
from swarm.wire.identity import peer_bytes
from swarm.wire.manifest import Manifest

_DOMAIN = b"murmur-member-1\0"  # Changing breaks: every token


def new_secret() -> bytes:
    """A secret for a new private swarm."""
    return secrets.token_bytes(MEMBER_KEY_SIZE)


def member_key(secret: bytes) -> bytes:
    """The public key that a private swarm's manifest names."""
    return _private(secret).public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class Membership:
    """One peer's standing in one swarm, and its means to check that of others."""

    swarm: str  # swarm id
    key: bytes  # the manifest's member key; empty in an open swarm
    token: bytes  # the own proof; empty in an open swarm

    @classmethod
    def of(cls, manifest: Manifest, secret: bytes, peer: str) -> Membership:
        """Raises InviteError when `secret` does not open the manifest's swarm."""
        swarm = manifest.swarm_id
        if not manifest.member_key:
            return cls(swarm, b"", b"")
        if len(secret) != MEMBER_KEY_SIZE or member_key(secret) != manifest.member_key:
            raise InviteError("this swarm is private: join with the whole invite, which carries its secret")
        return cls(swarm, manifest.member_key, _private(secret).sign(_claim(swarm, peer)))

    def admits(self, peer: str, token: bytes) -> bool:
        """Whether `token` shows that `peer` is a member. Everybody is one in an open swarm."""
        return admits(self.key, self.swarm, peer, token)


def admits(key: bytes, swarm: str, peer: str, token: bytes) -> bool:
    """Whether the holder of the secret behind `key` made `token` for `peer`; an empty key admits all."""
    if not key:
        return True
    if len(token) != TOKEN_SIZE:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(token, _claim(swarm, peer))
    except (DecodeError, InvalidSignature, ValueError):
        return False
    return True


def _private(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(secret)


def _claim(swarm: str, peer: str) -> bytes:
    return _DOMAIN + swarm.encode("ascii") + peer_bytes(peer)
