"""The invite: one line to paste that holds all a stranger needs to join a swarm.

`murmur2:` and URL-safe base64 of `[manifest, bootstrap addresses, secret, extensions]` and a checksum, so that a wrong
character is found here and not by a node that stays alone in a swarm of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgpack

from swarm.errors import DecodeError, InviteError
from swarm.limits import MAX_ADDRESS, PROTOCOL_VERSION
from swarm.wire import extensions, fields
from swarm.wire.manifest import Manifest, read_key
from swarm.wire.multiaddr import Address, hosts_and_ports

# Changing breaks: invites that carry more are refused by others.
MAX_INVITE = 8192  # characters
MAX_BOOTSTRAP = 8

_PREFIX = f"murmur{PROTOCOL_VERSION}:"
_ANY_PREFIX = re.compile(r"murmur([1-9][0-9]{0,3}):", re.ASCII)
_CHECKSUM_SIZE = 8  # bytes of SHA-256: one change in 2**64 slips through
_DAMAGED = "the invite is damaged ({}): copy it whole, as murmur bootstrap printed it"


@dataclass(frozen=True, slots=True)
class Invite:
    """The manifest, where some peers of its swarm listen, and a private swarm's secret."""

    manifest: Manifest
    bootstrap: tuple[str, ...]  # multiaddrs, each ending in /p2p/<PeerID>
    secret: bytes = field(default=b"", repr=False)  # of a private swarm; else empty

    def __post_init__(self) -> None:
        if len(self.bootstrap) > MAX_BOOTSTRAP:
            raise InviteError(f"{len(self.bootstrap)} bootstrap addresses; at most {MAX_BOOTSTRAP}")
        for text in self.bootstrap:
            check_bootstrap(text)
        if len(self.secret) != len(self.manifest.member_key):
            raise InviteError("an invite carries a secret exactly when its swarm is private")

    def encode(self) -> str:
        """One line of printable ASCII. Raises InviteError for more than a line may hold."""
        line = seal(msgpack.packb([self.manifest.encode(), list(self.bootstrap), self.secret, []]))
        if len(line) > MAX_INVITE:
            raise InviteError(
                f"an invite of {len(line)} characters; at most {MAX_INVITE}: name fewer tasks, or shorten templates"
            )
        return line

    @classmethod
    def decode(cls, text: str) -> Invite:
        """Raises InviteError that says which part is wrong. Space around the text does not matter."""
        text = text.strip()
        if len(text) > MAX_INVITE:
            raise InviteError(f"invite of {len(text)} characters; at most {MAX_INVITE}")
        _check_prefix(text)
        try:
            values = fields.items(fields.unpack(_opened(text)), 4, "invite", least=4)
            raw, addresses, secret, more = values
            if not isinstance(raw, bytes):
                fields.refuse("manifest")
            addresses = fields.items(addresses, MAX_BOOTSTRAP, "bootstrap addresses")
            bootstrap = tuple(fields.text(a, MAX_ADDRESS, "bootstrap address") for a in addresses)
            extensions.decode(more, "invite")
            key = read_key(secret, "secret")
        except DecodeError as error:
            raise InviteError(_DAMAGED.format(error)) from error
        invite = cls(Manifest.decode(raw), bootstrap, key)
        if not bootstrap:  # who joined by it would found a swarm of the same name, and be alone there
            raise InviteError(
                "the invite names no peer to join through: whoever made it had no network then; ask for a new one"
            )
        return invite


def check_bootstrap(text: str) -> Address:
    """A bootstrap address with the peer that must answer there. Raises InviteError."""
    address = Address.parse(text)
    if address.peer is None or address.port == 0:
        raise InviteError(f"bootstrap address {text!r} needs a port and must end in /p2p/PEER")
    return address


def nobody_answers(bootstrap: Iterable[Address]) -> str:
    """What is told where none of the peers to join through is there."""
    hosts = hosts_and_ports(bootstrap)
    return f"no bootstrap peer answers at {hosts}: check that it runs and that the address is right"


def seal(content: bytes) -> str:
    """The line for these packed fields, with its checksum."""
    return _PREFIX + _base64(content + _checksum(content))


def _opened(text: str) -> bytes:
    """The packed fields of a line. Raises DecodeError unless it is, to the letter, what `seal` made of them."""
    encoded = text.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError("not base64") from error
    # Written once more, since base64 has several spellings of some contents.
    if len(raw) <= _CHECKSUM_SIZE or _base64(raw) != encoded:
        raise DecodeError("cut off, or not as it was written")
    content, checksum = raw[:-_CHECKSUM_SIZE], raw[-_CHECKSUM_SIZE:]
    if checksum != _checksum(content):
        raise DecodeError("its checksum does not match: a character is wrong, missing or too many")
    return content


def _check_prefix(text: str) -> None:
    if text.startswith(_PREFIX):
        return
    if found := _ANY_PREFIX.match(text):
        try:
            fields.check_version(int(found[1]), "the node that made this invite")
        except DecodeError as error:
            raise InviteError(f"{error}; then ask for a new invite") from error
    if text.endswith(".txt"):
        raise InviteError(
            f'{text[:MAX_ADDRESS]!r} names a file: give what is in it, "$(cat {text[:MAX_ADDRESS]})"'
        )
    raise InviteError(f"an invite starts with {_PREFIX!r}: copy it whole, as murmur bootstrap printed it")


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(b"murmur-invite-2\0" + content).digest()[:_CHECKSUM_SIZE]
