"""The folder of a demo is no run: every command says so, and none goes on in it or advises what cannot be done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import murmur

from node.config.reading import load_config
from node.demo import run
from node.demo.kinds import KINDS
from node.demo.run import claimed_for_demo, last_words, run_demo
from node.demo.view import DemoView
from node.storage.run_folder import DEMO_SWARM, RunFolder
from node.ui import interrupts
from swarm.errors import TransportDown

INVITE = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One that was killed before a node began."""
    monkeypatch.chdir(tmp_path)
    path = Path("runs/demo-1")
    with claimed_for_demo(path, load_config("tiny", ["seed=0"])):
        yield path


def files(path: Path) -> list[str]:
    return sorted(str(found) for found in path.rglob("*") if not found.name.startswith("."))


@pytest.mark.parametrize("nodes", [(), ("swarm-1", "swarm-2")])
@pytest.mark.parametrize(
    "words",
    [
        ("silo", "tiny"),
        ("run", "tiny"),
        ("join", INVITE),
        ("run", "--resume"),
        ("silo", "--resume"),
        ("run", "--resume-or-start"),
        ("stats",),
        ("peers",),
    ],
)
def test_no_run_begins_or_goes_on_in_it(
    words: tuple[str, ...],
    nodes: tuple[str, ...],
    demo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in nodes:
        RunFolder(demo / name).create(load_config("tiny", ["seed=1"]))
    before = files(demo)
    place = [str(demo)] if words == ("stats",) else ["--run-dir", str(demo)]
    told = murmur(monkeypatch, capsys, *words, *place)
    assert told.code == 2 and told.err.startswith("murmur: runs/demo-1 holds a demo: ")
    assert "resume" not in told.err and told.err.count("\n") == 1
    assert all(str(demo / name) in told.err for name in nodes)
    assert files(demo) == before


def test_a_demo_begins_in_no_folder_that_is_taken(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder(Path("runs/join-1")).create(load_config("tiny", ["seed=1"]))
    for taken in (demo, Path("runs/join-1")):
        told = murmur(monkeypatch, capsys, "demo", "--run-dir", str(taken))
        assert told.code == 2 and "resume" not in told.err
        assert told.err == f"murmur: {taken} is taken: a demo begins anew, so choose another --run-dir\n"


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), interrupts.Stopped(2)])
def test_a_demo_that_fails_before_anything_began_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def failing(*_: object) -> None:
        raise fault

    monkeypatch.setattr(run, "prepare_warm_starts", failing)
    with pytest.raises(type(fault)):
        run_demo(KINDS["embedded"], 2, [], tmp_path / "runs" / "demo", DemoView("plain", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_of_the_demo_wrote_stays_and_its_last_words_are_told(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    with pytest.raises(TransportDown), claimed_for_demo(path, load_config("tiny", ["seed=0"])):
        (path / DEMO_SWARM / "output.log").write_text("looking\nmurmur: the disk is full\n")
        raise TransportDown(last_words(path / DEMO_SWARM))
    assert last_words(path / DEMO_SWARM) == " (the disk is full)"
    (path / DEMO_SWARM / "output.log").write_text("")
    assert last_words(path / DEMO_SWARM) == ""
