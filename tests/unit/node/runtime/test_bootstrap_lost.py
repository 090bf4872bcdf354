"""A bootstrap whose run folder is taken away while it serves: it says so and ends, as a run does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from node.arguments import bootstrap_asked
from node.failures import exit_code
from node.runtime import serve_bootstrap
from node.storage.run_folder import FolderLostError, RunFolder
from swarm.errors import TransportDown
from swarm.transport.base import TransportStatus
from swarm.wire.identity import Identity

WAY = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity.ephemeral().peer_id}"


class Harmed:
    """A transport that is up, whose folder meets `harm` with each line that is told."""

    def __init__(self, path: Path, harm: Callable[[Path], object]) -> None:
        self.path, self.harm, self.closed = path, harm, False

    def wait_ready(self, timeout: float | None = None) -> None:
        Identity.load_or_create(self.path / "identity.key")  # as the process of a real one does

    def status(self) -> TransportStatus:
        return TransportStatus(True, (WAY,), 0, {}, "")

    def announcements(self, *_: object) -> list[object]:
        self.harm(self.path)
        return []

    def close(self) -> None:
        self.closed = True


def moved(path: Path) -> None:
    path.rename(path.with_name("later"))


def replaced(path: Path) -> None:
    moved(path)
    path.mkdir()


def emptied(path: Path) -> None:
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


class Ended(Exception):
    """Nothing was noticed."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[Path], object]], Harmed]:
    """Serves from a folder that meets a harm, for a few beats at most."""

    def serve(harm: Callable[[Path], object]) -> Harmed:
        transport, beats = Harmed(tmp_path / "hub", harm), 0

        class Stop:
            def wait(self, seconds: float) -> bool:
                nonlocal beats
                beats += 1
                if beats > 3:
                    raise Ended
                return False

        monkeypatch.setattr(serve_bootstrap, "build_transport", lambda config, folder: transport)
        monkeypatch.setattr(serve_bootstrap.interrupts, "StopRequest", Stop)
        try:
            serve_bootstrap.serve_bootstrap(
                bootstrap_asked(None, [], tmp_path / "hub", None, private=False), as_json=False
            )
        finally:
            assert transport.closed
        return transport

    return serve


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (
            shutil.rmtree,
            "taken away while a bootstrap served from it, and nothing lies there now: the key .* is lost",
        ),
        (moved, "nothing lies there now: it is .*later, with the key that its invites lead to"),
        (replaced, "another folder lies there now: it is .*later, with the key"),
        (emptied, "was emptied while a bootstrap served from it"),
    ],
)
def test_a_bootstrap_whose_folder_is_taken_away_ends_in_words(
    served: Callable[[Callable[[Path], object]], Harmed],
    harm: Callable[[Path], object],
    words: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(FolderLostError, match=words) as told:
        served(harm)
    assert exit_code(told.value) == 3 and "\n" not in str(told.value)
    kept = RunFolder(tmp_path / "later").invite.exists()
    assert kept is (harm in (moved, replaced)), "what was moved keeps all of it"


def test_a_bootstrap_without_a_network_invites_nobody(
    served: Callable[[Callable[[Path], object]], Harmed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Harmed, "status", lambda self: TransportStatus(True, (), 0, {}, ""))
    with pytest.raises(TransportDown, match="no address, so nobody can join") as told:
        served(lambda path: None)
    assert exit_code(told.value) == 4 and not (tmp_path / "hub").exists()


def test_a_bootstrap_whose_invite_alone_was_put_away_serves_on(
    served: Callable[[Callable[[Path], object]], Harmed],
) -> None:
    with pytest.raises(Ended):
        served(lambda path: (path / "invite.txt").unlink(missing_ok=True))
