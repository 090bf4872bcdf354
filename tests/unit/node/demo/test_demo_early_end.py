"""A demo that Ctrl-C ends: its nodes save, the table says that it is unfinished, and the last line what is next."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sample_events import ROUND

from node.baseline.processes import NodeProcesses
from node.config.schema import Config
from node.demo import run
from node.demo.early_end import saved
from node.demo.kinds import KINDS
from node.demo.run import Place, run_demo
from node.demo.status import DemoNode, NodeStatus
from node.demo.view import DemoView
from node.storage.events import LifeEvent, Store
from node.storage.run_folder import RunFolder
from node.ui import interrupts
from node.ui.run_view import OutputStyle

# Ends at SIGTERM as a node does that has saved its round.
WAITS = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
    "print('up', flush=True); time.sleep(600)"
)


@pytest.fixture(autouse=True)
def nothing_saved() -> Iterator[None]:
    yield
    interrupts.on_leaving(lambda: "")


def played(folder: Path, newest: int | None) -> RunFolder:
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    with closing(Store(run.events)) as store:
        store.append(LifeEvent(0, "started", "started"), ROUND, LifeEvent(1, "stopped", "stopped"))
    if newest is not None:
        (run.checkpoints / f"round-{newest:08d}").mkdir(parents=True)
        (run.checkpoints / f"round-{newest:08d}" / "state.json").write_text("{}")
    return run


def test_what_the_nodes_saved_is_told_with_the_next_commands(tmp_path: Path) -> None:
    assert saved(tmp_path).startswith("no node saved a round; begin again with: ")
    for number, newest in ((1, 9), (2, 12), (10, None)):
        played(tmp_path / f"swarm-{number}", newest)
    told = saved(tmp_path)
    assert told.startswith("2 of 3 nodes saved, at rounds 9 to 12; go on with one: ")
    assert f"run --resume --run-dir {tmp_path}/swarm-2; look at it: " in told
    assert told.endswith(f"dashboard {tmp_path}/swarm-2")


class Interrupted(DemoView):
    """Ctrl-C comes with the second look at the nodes."""

    looks = 0

    def show(self, statuses: Sequence[NodeStatus]) -> None:
        super().show(statuses)
        self.looks += 1
        if self.looks == 2:
            raise interrupts.Stopped(signal.SIGINT)


def start_waiting(processes: NodeProcesses, place: Place, settings: Sequence[str], invite: str) -> DemoNode:
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"up\n"
    process.stdout.close()
    processes._processes.append(process)
    return DemoNode(place.number, place.role, played(place.folder.path, 3), process)


def nothing_to_prepare(configs: Sequence[Config], view: DemoView) -> None:
    """The nodes here play nothing."""


@pytest.mark.parametrize("style", ["plain", "json"])
def test_a_demo_that_is_stopped_ends_with_its_nodes_and_the_table_so_far(
    tmp_path: Path, style: OutputStyle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "prepare_warm_starts", nothing_to_prepare)
    monkeypatch.setattr(run, "start_bootstrap", lambda *_: "INVITE")
    monkeypatch.setattr(run, "start_node", start_waiting)
    demo = tmp_path / "demo"
    with pytest.raises(interrupts.Stopped):
        run_demo(KINDS["embedded"], 2, [], demo, Interrupted(style, demo))
    said = capfd.readouterr()
    assert "stopping after the round of each node and saving; press Ctrl-C again" in said.err
    assert interrupts.ending(signal.SIGINT).startswith(
        "murmur: stopped by Ctrl-C; 2 of 2 nodes saved, at round 3; go on with one: "
    )
    if style == "json":
        report = json.loads(said.out)
        assert report["unfinished"] is True and len(report["nodes"]) == 4 and "uplift" not in report
    else:
        table = said.out[said.out.index(f"{demo} (unfinished)") :]
        assert len(re.findall(r" stopped *\n", table)) == 4 and "held-out reward" not in table
