"""A run whose folder is taken away from under it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import OperationalError

import pytest
from fakes import ALICE
from loop_nodes import Quiet, node_of

from node.config.reading import load_config
from node.failures import exit_code
from node.runtime.loop import run
from node.runtime.session import loss_told_first
from node.storage.claim import claimed_new
from node.storage.run_folder import FolderLostError, RunFolder
from policies.policy import UpdateReport
from swarm.transport.silo import SiloTransport


@pytest.fixture
def held(tmp_path: Path) -> Iterator[RunFolder]:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    with folder.held() as held:
        yield held


def play(held: RunFolder, harm: Callable[[Path], object]) -> None:
    """Four rounds with a checkpoint after each; the folder meets `harm` in the second."""
    node = node_of(held.path, ALICE, SiloTransport(), 0, rounds=4, checkpoint={"every": 1})
    node.check_place = held.check_place
    update = node.policy.update

    def harmed(*given: object, **named: object) -> UpdateReport | None:
        if node.round == 2:
            harm(held.path)
        return update(*given, **named)  # type: ignore[arg-type]

    node.policy.update = harmed  # type: ignore[method-assign]
    with loss_told_first(held):
        run(node, Quiet())


def moved(path: Path) -> None:
    path.rename(path.with_name("later"))


def replaced(path: Path) -> None:
    moved(path)
    RunFolder(path).create(load_config("tiny"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "taken away .* nothing lies there now: what it kept is lost"),
        (moved, "nothing lies there now: it is .*later, with what was saved"),
        (replaced, "another folder lies there now: it is .*later, with what was saved"),
        (lambda path: (path / "config.json").unlink(), "was emptied while its run went on"),
    ],
)
def test_a_run_whose_folder_is_taken_away_ends_in_words(
    held: RunFolder, harm: Callable[[Path], object], words: str
) -> None:
    with pytest.raises(FolderLostError, match=words) as told:
        play(held, harm)
    assert exit_code(told.value) == 3 and "\n" not in str(told.value)
    assert not list(held.path.glob("checkpoints/round-00000002"))
    assert told.value.moved == (held.path.with_name("later") if harm in (moved, replaced) else None)


def test_checkpoints_that_were_removed_alone_are_made_again(held: RunFolder) -> None:
    play(held, lambda path: shutil.rmtree(path / "checkpoints"))
    assert [path.name for path in sorted(held.checkpoints.iterdir())] == ["round-00000003", "round-00000004"]


def test_errors_of_files_are_the_folders_only_where_it_is_gone(held: RunFolder) -> None:
    with pytest.raises(OperationalError), loss_told_first(held):
        raise OperationalError("disk I/O error")
    moved(held.path)
    with pytest.raises(FolderLostError), loss_told_first(held):
        raise OperationalError("disk I/O error")


def test_what_came_into_the_place_of_a_start_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    guard = lambda folder, undo: None  # noqa: E731
    with (
        pytest.raises(FolderLostError),
        claimed_new(path, "tiny", load_config("tiny"), b"", guard) as (folder, _),
    ):
        replaced(path)
        folder.check_place()
    assert (path / "config.json").exists()
