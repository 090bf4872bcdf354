"""A node's identity: one Ed25519 key names it (libp2p PeerID), signs its announcements and secures its streams.

The PeerID of an Ed25519 key *contains* the public key, so whoever knows the name can check the signature.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from functools import lru_cache
from pathlib import Path

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarm.errors import DecodeError, IdentityError

# libp2p peer-ids spec: identity multihash (00 24) over protobuf PublicKey {Type: Ed25519, Data: 32 bytes}.
_PEER_PREFIX = bytes.fromhex("002408011220")
PEER_ID_SIZE = len(_PEER_PREFIX) + 32
# The same spec's PrivateKey {Type: Ed25519, Data: 64 bytes, seed and public key}: what p2pd -id reads.
_KEY_PREFIX = bytes.fromhex("08011240")
_KEY_FILE_SIZE = len(_KEY_PREFIX) + 64
_KNOWN_NAMES = 4096  # names converted last, 1 MB; a conversion takes 0.1 ms, and one announcement needs nine
_MAX_PEER_TEXT = 64  # base58 of 38 bytes takes 52 characters; decoding is quadratic in the length


class Identity:
    """A node's key. Its secret part never leaves this object except into the key file."""

    __slots__ = ("_key", "peer_id", "public_key")

    def __init__(self, seed: bytes) -> None:
        """`seed` is the 32-byte private key of RFC 8032."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.peer_id = peer_text(_PEER_PREFIX + self.public_key)

    @classmethod
    def ephemeral(cls) -> Identity:
        """A fresh key in memory, for observers that need a name and no reputation."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def load(cls, path: Path) -> Identity:
        """The key in `path`. Raises IdentityError with the fix, also where the file is missing."""
        try:
            return cls._load(path)
        except OSError as error:
            raise IdentityError(f"cannot read the key file {path}: {error.strerror}") from error

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """The key in `path`, made there first if the file is missing. Raises IdentityError with the fix."""
        try:
            return cls._load(path)
        except FileNotFoundError:
            cls.ephemeral().save(path)
        except OSError as error:
            raise IdentityError(
                f"cannot read the key file {path} ({error.strerror}): change its mode or owner, or choose another path"
            ) from error
        return cls._load(path)

    def save(self, path: Path) -> None:
        """Writes a new key file of mode 0600; a file that is already there stays as it is.

        The key is complete before its name appears: readers and crashes never see half a key.
        """
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_KEY_PREFIX + self._key.private_bytes_raw() + self.public_key)
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, path)
        except FileExistsError:
            return
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            way = "free some space (df -h, df -i)" if full else "choose another path"
            raise IdentityError(f"cannot write the key file {path} ({error.strerror}): {way}") from error
        finally:
            partial.unlink(missing_ok=True)

    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature. Callers put a domain tag in front of `message`."""
        return self._key.sign(message)

    def derive(self, purpose: str) -> int:
        """A 63-bit number for one purpose: always the same, and only the key's holder can tell it."""
        hidden = self.sign(b"murmur derive\x00" + purpose.encode())
        return int.from_bytes(hashlib.sha256(hidden).digest()[:8], "big") >> 1

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"

    @classmethod
    def _load(cls, path: Path) -> Identity:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise IdentityError(f"{path} is no file, so it holds no key: choose another path")
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            raw = file.read(_KEY_FILE_SIZE + 1)
        seed = raw[len(_KEY_PREFIX) : -32]
        well_formed = len(raw) == _KEY_FILE_SIZE and raw.startswith(_KEY_PREFIX)
        identity = cls(seed) if well_formed else None
        if identity is None or not raw.endswith(identity.public_key):
            raise IdentityError(
                f"{path} is not an Ed25519 libp2p key; restore a backup, or move it away to get a new identity"
            )
        if mode & 0o077:
            raise IdentityError(f"{path} is open to others (mode {mode:04o}); run: chmod 600 {path}")
        return identity


def verify(peer_id: str, message: bytes, signature: bytes) -> bool:
    """Whether the holder of `peer_id` signed `message`. False for anything malformed."""
    try:
        public_key = Ed25519PublicKey.from_public_bytes(peer_bytes(peer_id)[len(_PEER_PREFIX) :])
        public_key.verify(signature, message)
    except (DecodeError, InvalidSignature, ValueError):
        return False
    return True


@lru_cache(_KNOWN_NAMES)
def peer_bytes(peer_id: str) -> bytes:
    """The 38 raw bytes of an Ed25519 PeerID. Raises DecodeError."""
    try:
        raw: bytes = base58.b58decode(peer_id) if len(peer_id) <= _MAX_PEER_TEXT else b""
    except ValueError as error:
        raise DecodeError("a PeerID that is not base58") from error
    if peer_text(raw) != peer_id:
        raise DecodeError("a PeerID that is not in its shortest form")
    return raw


@lru_cache(_KNOWN_NAMES)
def peer_text(raw: bytes) -> str:
    """The base58 form, `12D3Koo...`, of an Ed25519 PeerID's raw bytes. Raises DecodeError."""
    if len(raw) != PEER_ID_SIZE or not raw.startswith(_PEER_PREFIX):
        raise DecodeError("not the PeerID of an Ed25519 key")
    text: str = base58.b58encode(raw).decode("ascii")
    return text
