"""The folder of a demo is no run: every command says so, and none goes on in it or advises what cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import murmur

from node.config.reading import load_config
from node.demo.run import claim_for_demo
from node.storage.run_folder import RunFolder

INVITE = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that was stopped before a node began."""
    monkeypatch.chdir(tmp_path)
    path = Path("runs/demo-1")
    claim_for_demo(path, load_config("tiny", ["seed=0"]))
    return path


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
