"""Run folders: one run each, numbered, locked while in use."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from node.config.reading import load_config
from node.storage.run_folder import (
    RunFolder,
    RunFolderError,
    RunFolderInUse,
    baseline_of,
    demo_pairs,
    find_run,
    naming,
    nearest_run,
    new_run_folder,
    newest_run_folder,
    run_to_resume,
    write_atomic,
)


def test_create_refuses_a_folder_with_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a")
    folder.create(load_config("tiny"))
    assert folder.read_config().model_copy(update={"seed": None}) == load_config("tiny")
    with pytest.raises(RunFolderError, match="--resume"):
        folder.create(load_config("tiny"))


def test_a_run_is_not_begun_in_the_folder_of_a_bootstrap(tmp_path: Path) -> None:
    hub = RunFolder(tmp_path)
    hub.invite.write_text("murmur-")
    with pytest.raises(RunFolderError, match=r"is a bootstrap's, .*: choose another --run-dir"):
        hub.create(load_config("tiny"))
    assert list(tmp_path.iterdir()) == [hub.invite]


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(RunFolderError, match=r"no run tiny-1, tiny-2, \.\.\. under .*/ to resume"):
        run_to_resume("tiny", tmp_path)


def test_without_a_name_the_newest_run_of_all_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="leave out --resume to start one"):
        run_to_resume(None, tmp_path)
    run_written(tmp_path / "mine-1", 3.0)
    run_written(tmp_path / "demo-1" / "swarm-1", 9.0)  # of a demo, which goes on as a whole
    run_written(tmp_path / "silo-2", 2.0)
    assert run_to_resume(None, tmp_path).path == tmp_path / "mine-1"


def test_a_run_to_resume_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="leave out --resume to start one"):
        run_to_resume("tiny", tmp_path)
    run_written(tmp_path / "join-1", 1.0)
    run_written(tmp_path / "join-1" / "baseline", 9.0)  # part of its run
    run_written(tmp_path / "silo-2", 2.0)
    (tmp_path / "bootstrap").mkdir()
    with pytest.raises(RunFolderError) as told:
        run_to_resume("tiny", tmp_path)
    assert str(told.value).endswith(f"there are {tmp_path}/join-1, {tmp_path}/silo-2")
    for number in range(3, 12):
        run_written(tmp_path / f"silo-{number}", float(number * 10))
    with pytest.raises(RunFolderError, match=r"silo-11, .*silo-5, .*silo-4 and 3 older ones"):
        run_to_resume("tiny", tmp_path)


def test_the_run_that_may_have_been_meant_is_named(tmp_path: Path) -> None:
    assert nearest_run("join-1", tmp_path) == ""
    for second, place in enumerate(("old/join-1", "join-1", "silo-3", "demo-1/swarm-1")):
        run_written(tmp_path / place, float(second))
    for name in ("join-1", "jion-1", "runs/join-1/", "join-7"):
        assert nearest_run(name, tmp_path) == f"; the nearest is {tmp_path}/join-1"
    assert nearest_run("swarm-1", tmp_path) == f"; the nearest is {tmp_path}/demo-1/swarm-1"
    assert nearest_run("murmur2", tmp_path) == ""


def test_numbers_count_up_and_ignore_strangers(tmp_path: Path) -> None:
    assert new_run_folder("tiny", tmp_path).path == tmp_path / "tiny-1"
    for name in ("tiny-1", "tiny-10", "tiny-x", "tinier-40"):
        (tmp_path / name).mkdir()
    assert new_run_folder("tiny", tmp_path).path == tmp_path / "tiny-11"
    assert run_to_resume("tiny", tmp_path).path == tmp_path / "tiny-10"


def run_written(path: Path, at: float) -> RunFolder:
    folder = RunFolder(path)
    folder.create(load_config("tiny"))
    folder.events.touch()
    os.utime(folder.events, (at, at))
    return folder


def test_a_baseline_is_found_in_its_run_and_in_a_demo(tmp_path: Path) -> None:
    run, other = run_written(tmp_path / "join-1", 1.0), run_written(tmp_path / "join-2", 1.0)
    baseline = run_written(tmp_path / "join-1" / "baseline", 2.0)
    assert (baseline_of(run), baseline_of(other), baseline_of(baseline)) == (baseline, None, None)
    node, control = (run_written(tmp_path / "demo-1" / name, 1.0) for name in ("swarm-2", "baseline-2"))
    assert (baseline_of(node), baseline_of(control)) == (control, None)
    old = run_written(tmp_path / "old-1" / "twin", 1.0)  # as runs of before have it
    assert baseline_of(run_written(tmp_path / "old-1", 1.0)) == old
    node, control = (run_written(tmp_path / "demo-2" / name, 1.0) for name in ("swarm-1", "twin-1"))
    assert baseline_of(node) == control


def test_the_newest_run_is_the_node_whose_baseline_wrote_last(tmp_path: Path) -> None:
    assert newest_run_folder(tmp_path) is None
    run = run_written(tmp_path / "join-1", 1.0)
    other = run_written(tmp_path / "demo-1" / "swarm-1", 2.0)
    run_written(tmp_path / "join-1" / "baseline", 3.0)
    assert newest_run_folder(tmp_path) == run
    log = other.events.with_name("events.sqlite-wal")  # where a store in use writes first
    log.touch()
    os.utime(log, (4.0, 4.0))
    assert newest_run_folder(tmp_path) == other


def test_lock_keeps_a_second_node_out_until_released(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    holder = folder.lock()
    with pytest.raises(RunFolderError, match="in use"):
        folder.lock()
    holder.close()
    folder.lock().close()


def test_a_full_disk_is_told_with_the_file_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomic(tmp_path / "file", "new")
    assert raised.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"^our own words$"), naming(tmp_path / "file"):
        raise OSError("our own words")


def test_a_run_without_a_config_that_can_be_read_is_told_so_and_never_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("runs/base"))
    run.path.mkdir(parents=True)
    run.events.touch()
    for damage in (lambda: None, lambda: os.mkfifo(run.config), lambda: run.config.unlink()):
        damage()
        for ask in (run.read_config, lambda: find_run(run.path)):
            with pytest.raises(
                RunFolderError, match=r"base/config\.json is no file that can be read: put"
            ) as told:
                ask()
            assert "nearest" not in str(told.value)
    with pytest.raises(RunFolderError, match="holds no run") as told:
        find_run(Path("bas"))
    assert "nearest" not in str(told.value)


def test_writers_of_one_file_leave_each_other_alone(tmp_path: Path) -> None:
    """Five processes in truth; threads have descriptors, and so locks, of their own."""
    target, texts = tmp_path / "file.txt", [f"{number}" * 2000 for number in range(5)]
    failed: list[Exception] = []

    def write(text: str) -> None:
        for _ in range(40):
            try:
                write_atomic(target, text)
            except OSError as error:
                failed.append(error)

    threads = [Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not target.exists() or target.read_text() in texts
    assert failed == [] and [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_write_atomic_replaces_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_atomic(target, "old")
    write_atomic(target, "new")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_run_in_use_names_the_newest_that_nobody_plays(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        folder = RunFolder(tmp_path / f"join-{number}")
        folder.path.mkdir()
        folder.lock().close()
        folder.events.touch()
        os.utime(folder.events, (number, number))
    with (
        closing(RunFolder(tmp_path / "join-3").lock()),
        pytest.raises(RunFolderInUse, match=rf"another --run-dir, as {tmp_path}/join-2$"),
    ):
        RunFolder(tmp_path / "join-3").lock()
    own = RunFolder(tmp_path / "home")
    own.path.mkdir()
    with closing(own.lock()), pytest.raises(RunFolderInUse, match=r"another --run-dir$"):
        own.lock()


def test_a_demo_is_known_by_its_nodes_and_a_run_in_use_by_its_lock(tmp_path: Path) -> None:
    pairs = [
        tuple(run_written(tmp_path / "demo" / f"{role}-{n}", 1.0) for role in ("swarm", "baseline"))
        for n in (1, 2)
    ]
    assert demo_pairs(pairs[0][0]) == pairs and demo_pairs(pairs[0][1]) == []
    assert demo_pairs(run_written(tmp_path / "join-1", 1.0)) == []
    run = pairs[0][0]
    assert not run.in_use()
    with closing(run.lock()):
        assert run.in_use()
    assert not run.in_use()
