"""Checkpoints: whole or not there, newest wins, a broken one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.storage.checkpoint import FORMAT, CheckpointError, Checkpoints, NodeState


class Weights:
    """As much of a policy as a checkpoint needs."""

    def __init__(self, value: str = "") -> None:
        self.value = value
        self.breaks = False

    def save(self, folder: Path) -> None:
        (folder / "weights").write_text(self.value[: len(self.value) // 2])
        if self.breaks:
            raise OSError("disk full")
        (folder / "weights").write_text(self.value)

    def load(self, folder: Path) -> None:
        self.value = (folder / "weights").read_text()


def save(checkpoints: Checkpoints, number: int, **weights: Any) -> None:
    policy = Weights(f"weights of {number}")
    policy.breaks = bool(weights.get("breaks"))
    checkpoints.save(policy, NodeState(number, pool=[number], guard={}, rollouts={}))  # type: ignore[arg-type]


def test_newest_is_restored_and_old_ones_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for number in (1, 9, 10):
        save(checkpoints, number)
    policy = Weights()
    assert checkpoints.load_latest(policy) == NodeState(10, [10], {}, {})  # type: ignore[arg-type]
    assert policy.value == "weights of 10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round-00000009", "round-00000010"]


def test_failed_save_leaves_the_last_one_whole(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1)
    with pytest.raises(OSError, match="disk full"):
        save(checkpoints, 2, breaks=True)
    policy = Weights()
    state = checkpoints.load_latest(policy)  # type: ignore[arg-type]
    assert state is not None and state.round == 1 and policy.value == "weights of 1"
    save(checkpoints, 2)  # the draft that was left behind is no obstacle
    assert checkpoints.load_latest(policy).round == 2  # type: ignore[arg-type, union-attr]


def test_a_checkpoint_of_before_is_read_under_the_names_of_today(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1)
    state = tmp_path / "round-00000001" / "state.json"
    old = {"round": 1, "pool": [], "guard": {}, "rollouts": {}, "insight": {"rates": {}}, "format": 4}
    state.write_text(json.dumps(old))
    assert checkpoints.load_latest(Weights()) == NodeState(1, [], {}, {}, {"rates": {}})  # type: ignore[arg-type]


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", keep=1).load_latest(Weights()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "state",
    [
        "",
        "{}",
        '{"round": NaN, "pool": [], "guard": {}, "rollouts": {}, "format": 5}',
        '{"round": 1}',
        '{"round": 1, "pool": [], "guard": {}, "format": 99}',
    ],
)
def test_broken_state_is_named(tmp_path: Path, state: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1)
    (tmp_path / "round-00000001" / "state.json").write_text(state)
    with pytest.raises(CheckpointError, match="round-00000001"):
        checkpoints.load_latest(Weights())  # type: ignore[arg-type]


@pytest.mark.parametrize("lost", ["state.json", "policy/weights", "."])
def test_a_checkpoint_that_lost_a_file_is_damage_and_never_passed_over(tmp_path: Path, lost: str) -> None:
    """An older one would be gone on with without a word, and the damaged one kept as the newest when its round ends."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1)
    save(checkpoints, 2)
    if lost == ".":
        shutil.rmtree(tmp_path / "round-00000002")
        (tmp_path / "round-00000002").mkdir()
    else:
        (tmp_path / "round-00000002" / lost).unlink()
    with pytest.raises(
        CheckpointError, match=r"round-00000002 cannot be read .*move it away; round-00000001 is"
    ):
        checkpoints.load_latest(Weights())  # type: ignore[arg-type]


def test_a_checkpoint_under_the_name_of_another_round_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1)
    (tmp_path / "round-00000001").rename(tmp_path / "round-00000007")
    with pytest.raises(CheckpointError, match="its state is that of round 1"):
        checkpoints.load_latest(Weights())  # type: ignore[arg-type]


def test_a_state_of_another_format_is_refused_by_its_format(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1)
    state = tmp_path / "round-00000001" / "state.json"
    whole = json.loads(state.read_text())
    for written in (FORMAT + 1, FORMAT - 2, None):
        state.write_text(json.dumps(whole | {"format": written}))
        with pytest.raises(CheckpointError, match=f"format {written}, this murmur reads {FORMAT}"):
            checkpoints.load_latest(Weights())  # type: ignore[arg-type]


def test_a_round_that_is_saved_is_not_saved_again(tmp_path: Path) -> None:
    """A run that stops right after a checkpoint saves the same round twice."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = Weights("other weights")
    assert checkpoints.save(again, NodeState(1, [], {}, {})) == tmp_path / "round-00000001"  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == first


def test_every_file_is_on_disk_before_its_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    rename = Path.rename

    def renamed(draft: Path, final: Path) -> Path:
        files = {str(path) for path in draft.rglob("*") if path.is_file()}
        assert files and files <= set(synced) and str(draft) in synced
        synced.clear()
        return rename(draft, final)

    monkeypatch.setattr("node.storage.checkpoint.os.fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    save(Checkpoints(tmp_path, keep=1), 1)
    assert synced == [str(tmp_path)]  # the name itself


def test_the_folder_is_made_in_its_run_and_used_again_and_no_run_is_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoints = Checkpoints(run / "checkpoints", keep=2)
    with pytest.raises(FileNotFoundError):
        save(checkpoints, 1)
    assert not run.exists()
    run.mkdir()
    save(checkpoints, 1)
    save(checkpoints, 2)
    assert checkpoints.newest() == 2


def test_nothing_of_a_draft_that_a_kill_left_gets_into_the_checkpoint(tmp_path: Path) -> None:
    left = tmp_path / ".draft-round-00000002" / "policy"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    save(Checkpoints(tmp_path, keep=2), 2)
    assert not list(tmp_path.rglob("half"))


def test_a_draft_goes_when_the_disk_is_full(tmp_path: Path) -> None:
    """It takes room on just that disk."""
    with pytest.raises(OSError, match="disk full"):
        save(Checkpoints(tmp_path, keep=1), 1, breaks=True)
    assert list(tmp_path.iterdir()) == []


def test_saving_leaves_no_file_open(tmp_path: Path) -> None:
    checkpoints, opened = Checkpoints(tmp_path, keep=1), Path("/dev/fd")
    save(checkpoints, 1)
    before = len(list(opened.iterdir()))
    for number in range(2, 6):
        save(checkpoints, number)
    assert len(list(opened.iterdir())) <= before


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (5_250_000, r"cannot be written \(\[enforce fail .*; 5\.2 MB are free"),
        (90_000, r"cannot be written \(the disk is full\); 0\.1 MB are free"),
    ],
)
def test_a_library_that_fails_on_a_full_disk_is_told_and_its_draft_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, words: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))

    class Fails(Weights):
        def save(self, folder: Path) -> None:
            (folder / "weights").write_text("half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos 4644096")

    checkpoints = Checkpoints(tmp_path, keep=1)
    with pytest.raises(CheckpointError, match=words):
        checkpoints.save(Fails(), NodeState(3, [], {}, {}))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [] and checkpoints.newest() is None


@pytest.mark.parametrize("error", [EOFError("short"), AttributeError("no attribute"), IndexError("range")])
def test_whatever_a_reader_raises_names_the_checkpoint_and_the_older_one(
    tmp_path: Path, error: Exception
) -> None:
    class Damaged(Weights):
        def load(self, folder: Path) -> None:
            raise error

    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1)
    save(checkpoints, 2)
    with pytest.raises(CheckpointError, match=r"round-00000002 cannot be read .*round-00000001 is older"):
        checkpoints.load_latest(Damaged())  # type: ignore[arg-type]


@pytest.mark.parametrize("content", ["[]", "null", "5", "[" * 100_000])
def test_a_state_that_is_none_is_told_with_what_to_do(tmp_path: Path, content: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1)
    (tmp_path / "round-00000001" / "state.json").write_text(content)
    with pytest.raises(CheckpointError, match="move it away; there is no older one") as caught:
        checkpoints.load_latest(Weights())  # type: ignore[arg-type]
    assert "attribute" not in str(caught.value)
