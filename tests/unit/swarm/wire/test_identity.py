"""Key files, PeerIDs and signatures, checked against py-libp2p in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from needs_libp2p import needs_libp2p

from swarm.errors import DecodeError, IdentityError
from swarm.wire.identity import Identity, peer_bytes, peer_text, verify


def test_the_key_file_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "key"
    made = Identity.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key"]
    again = Identity.load_or_create(path)
    assert (again.peer_id, again.public_key) == (made.peer_id, made.public_key)
    assert verify(made.peer_id, b"hello", again.sign(b"hello"))


def test_saving_never_replaces_a_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = Identity.load_or_create(path)
    Identity.ephemeral().save(path)
    assert Identity.load_or_create(path).peer_id == first.peer_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_key_open_to_others_is_refused_with_the_command_that_helps(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    Identity.ephemeral().save(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match=f"chmod 600 {path}"):
        Identity.load_or_create(path)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b + b"\n", lambda b: b[:-1] + b"x"]
)
def test_a_malformed_key_is_refused_and_left_alone(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "key"
    Identity.ephemeral().save(path)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="not an Ed25519 libp2p key"):
        Identity.load_or_create(path)
    assert path.read_bytes() == before


def test_a_folder_in_the_place_of_the_key_is_an_identity_error(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="is no file"):
        Identity.load_or_create(tmp_path)


def test_nobody_signs_for_another() -> None:
    alice, mallory = Identity.ephemeral(), Identity.ephemeral()
    assert not verify(alice.peer_id, b"m", mallory.sign(b"m"))
    assert not verify(alice.peer_id, b"m", alice.sign(b"n"))
    assert not verify(alice.peer_id, b"m", b"")
    assert not verify("12D3Koo", b"m", alice.sign(b"m"))
    assert not verify("0" * 10_000, b"m", alice.sign(b"m"))


def test_the_secret_is_in_no_representation() -> None:
    identity = Identity.ephemeral()
    assert repr(identity) == f"Identity({identity.peer_id})"


def test_peer_ids_have_one_text_form() -> None:
    peer = Identity.ephemeral().peer_id
    assert peer_text(peer_bytes(peer)) == peer
    for text in (
        "",
        "1" + peer,
        peer + " ",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "\u0131" + peer,
    ):
        with pytest.raises(DecodeError):
            peer_bytes(text)


CROSS_CHECK = """
import sys
from pathlib import Path
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.pb import crypto_pb2
from libp2p.peer.id import ID
proto = crypto_pb2.PrivateKey.FromString(Path(sys.argv[1]).read_bytes())
assert proto.key_type == crypto_pb2.KeyType.Ed25519
key = Ed25519PrivateKey.from_bytes(proto.data[:32])
assert proto.data[32:] == key.get_public_key().to_bytes()
print(ID.from_pubkey(key.get_public_key()), key.sign(b"hello").hex())
"""


@needs_libp2p
def test_py_libp2p_reads_the_key_file_and_agrees_on_the_peer_id(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path / "key")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CROSS_CHECK, str(tmp_path / "key")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peer, signature = done.stdout.split()
    assert peer == identity.peer_id
    assert verify(peer, b"hello", bytes.fromhex(signature))


def test_what_is_no_file_is_never_opened_and_no_stranger_s_mode_is_changed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would wait for a writer for ever
    for path in (pipe, Path("/dev/null"), tmp_path):
        with pytest.raises(IdentityError, match="is no file, so it holds no key: choose another path"):
            Identity.load_or_create(path)
    letter = tmp_path / "letter"
    letter.write_text("dear neighbours")
    letter.chmod(0o644)
    with pytest.raises(IdentityError, match="not an Ed25519 libp2p key"):  # and no word of chmod
        Identity.load_or_create(letter)


def test_loading_makes_neither_key_nor_folder(tmp_path: Path) -> None:
    """The transport's process once brought back the folder of a start that had been undone."""
    with pytest.raises(IdentityError, match="cannot read the key file"):
        Identity.load(tmp_path / "gone" / "identity.key")
    assert not (tmp_path / "gone").exists()
    own = Identity.load_or_create(tmp_path / "identity.key")
    assert Identity.load(tmp_path / "identity.key").peer_id == own.peer_id
