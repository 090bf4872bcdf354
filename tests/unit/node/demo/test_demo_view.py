"""The demo's end: a table whose cells are whole in any window, and both comparisons."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from sample_events import ROUND

from node.baseline.uplift import Point, pooled
from node.demo.gains import Gains, uplifts
from node.demo.status import DemoNode, NodeStatus, read_status
from node.demo.view import COLUMNS, DemoView, closing_words, demo_table, row
from node.storage.events import LifeEvent, Store
from node.storage.run_folder import RunFolder
from node.ui.run_view import new_console


def status_of(number: int, role: str, *rewards: float) -> NodeStatus:
    evaluated = [Point(index, float(index), reward) for index, reward in enumerate(rewards)]
    return NodeStatus(number, role, f"{role} {number}", "peer", [ROUND], evaluated, "finished")  # type: ignore[arg-type]


def test_uplift_is_the_mean_over_finished_pairs() -> None:
    members = [
        status_of(1, "swarm", 0.2, 0.6),
        status_of(1, "baseline", 0.2, 0.5),
        status_of(2, "swarm", 0.1, 0.9),
    ]
    one = pooled(uplifts(members, 100))  # node 2 has no baseline that finished
    assert one is not None and (one.gain, one.nodes) == (pytest.approx(0.1), 1)
    two = pooled(uplifts([*members, status_of(2, "baseline", 0.1, 0.6)], 100))
    assert two is not None and (two.gain, two.nodes) == (pytest.approx(0.2), 2)
    assert two.high - two.low < one.high - one.low  # two nodes say more than one
    started = [status_of(1, "swarm", 0.2), status_of(1, "baseline", 0.2, 0.5)]
    assert pooled(uplifts(started, 100)) is None


def test_demo_report_holds_what_scripts_rely_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    members = [status_of(1, "swarm", 0.2, 0.6), status_of(1, "baseline", 0.2, 0.5)]
    picture = tmp_path / "demo.svg"
    assert DemoView("json", tmp_path, picture).conclude(members, 100) == 0
    report = json.loads(capsys.readouterr().out)
    promised = {"peer", "role", "rounds", "first_reward", "last_reward", "published", "received", "refused"}
    assert promised | {"trained_external", "seconds"} <= report["nodes"][0].keys()
    assert report["uplift"] == pytest.approx(0.1)
    assert report["uplift_low"] < 0.1 < report["uplift_high"]
    assert picture.read_text().startswith("<svg") and "url(" not in picture.read_text().split("</style>")[0]


def test_a_line_begins_with_its_node_and_the_closing_table_explains_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = DemoView("plain", tmp_path)
    late = replace(status_of(1, "swarm", 0.2, 0.6), rounds=[replace(ROUND, round=8)])
    view.show([late])
    assert capsys.readouterr().out.startswith("swarm 1  peer ")
    view.conclude([late], 100)
    said = capsys.readouterr().out
    assert all(f"{name}: " in said for name in ("baseline", "reward", "held-out", "received", "trained on"))


def test_the_legend_explains_the_columns_that_the_window_has_room_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    DemoView("plain", tmp_path).conclude([status_of(1, "swarm", 0.2, 0.6)], 100)
    said = capsys.readouterr().out
    assert "received" not in said and "trained on: groups" in " ".join(said.split())
    legend = said[said.index("baseline: ") : said.index("no pair")]
    assert max(map(len, legend.splitlines())) <= 60


def test_the_closing_table_of_a_live_demo_stands_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    window = io.StringIO()
    monkeypatch.setattr(sys, "stdout", window)
    monkeypatch.setenv("FORCE_COLOR", "1")
    member = replace(status_of(1, "swarm", 0.2, 0.6), state="finished, as it should")
    view = DemoView("live", tmp_path)
    with view:
        view.show([member])
    drawn = window.getvalue().count("finished, as it should")
    view.conclude([member], 100)
    said = window.getvalue()
    assert 1 <= drawn == said.count("finished, as it should")
    assert said.index("finished, as it should") < said.index("baseline: the same start")


def test_a_failed_member_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = replace(status_of(1, "swarm", 0.2), state="failed with exit code 3")
    assert DemoView("plain", tmp_path).conclude([failed], 100) == 3
    assert "no pair" in capsys.readouterr().out


def table_lines(statuses: list[NodeStatus], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    with console.capture() as drawn:
        console.print(demo_table(statuses, "demo-1", width))
    return drawn.get().splitlines()


def long_run(role: str, state: str = "finished") -> NodeStatus:
    rounds = [replace(ROUND, round=number, trained_local=4, refused={}) for number in range(1, 101)]
    points = [Point(number, float(number), 0.5) for number in (0, 48, 100)]
    label = "node 1" if role == "swarm" else "baseline 1"
    return NodeStatus(1, role, label, "12D3KooWabcdefgh", rounds, points, state)  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "left_out"), [(120, set()), (100, {"peer", "published"})])
def test_the_table_fits_its_window_whole(width: int, left_out: set[str]) -> None:
    statuses = [long_run("swarm"), long_run("baseline")]
    lines = table_lines(statuses, width)
    assert max(map(len, lines)) <= width and not any("…" in line.replace("…abcdefgh", "") for line in lines)
    assert [name for name in COLUMNS if name in lines[1]] == [n for n in COLUMNS if n not in left_out]
    cells = row(statuses[0])
    assert all(cells[name] in "".join(lines) for name in COLUMNS if name not in left_out)


def test_eighty_characters_hold_what_matters() -> None:
    lines = table_lines([long_run("swarm"), long_run("baseline", "failed with exit code 3")], 80)
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
    for name in ("node", "round", "reward", "held-out", "trained on", "state"):
        assert name in lines[1]


def test_a_pipe_takes_the_width_that_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, width in (("80", 80), ("", 120), ("0", 120), ("wide", 120)):
        monkeypatch.setenv("COLUMNS", told)
        assert new_console().width == width


def test_both_comparisons_are_told(tmp_path: Path) -> None:
    node = replace(long_run("swarm"), evaluated=[Point(0, 0.0, 0.2), Point(48, 9.0, 0.6)])
    baseline = replace(
        long_run("baseline"), evaluated=[Point(0, 0.0, 0.2), Point(48, 5.0, 0.35), Point(85, 9.0, 0.55)]
    )
    gains = Gains.of([node, baseline], 120)
    assert gains.facts["uplift"] == pytest.approx(0.05)
    assert gains.facts["uplift_by_rounds"] == pytest.approx(0.25)
    words = closing_words([node, baseline], gains, tmp_path)
    assert "after as many rounds: +0.250" in words and "at equal compute:     +0.050" in words
    assert "--resume" not in words  # all came to their end
    killed = replace(node, number=2, label="node 2", state="killed by signal 9")
    words = closing_words([node, baseline, killed], gains, tmp_path)
    assert words.splitlines()[-1].startswith("node 2 was killed by signal 9; it goes on with: ")
    assert words.endswith(f"run --resume --run-dir {tmp_path}/swarm-2")


@pytest.mark.parametrize(
    ("stages", "code", "state"),
    [
        ([], None, "starting"),
        (["started", "joined", "heard"], None, "running"),
        (["started", "finished", "resumed"], None, "running"),
        (["started", "heard", "finished", "report"], 0, "finished"),
        (["started", "heard"], -9, "killed by signal 9"),
        (["started"], 3, "failed with exit code 3"),
        ([], 143, "stopped"),  # by SIGTERM, as it loaded
        (["started", "heard", "resumed"], -9, "resumed"),  # by somebody else, in another process
    ],
)
def test_a_state_is_of_the_run_and_not_its_last_notice(
    tmp_path: Path, stages: list[str], code: int | None, state: str
) -> None:
    folder = RunFolder(tmp_path)
    store = Store(folder.events)
    store.append(*(LifeEvent(0, what, what) for what in stages))
    store.close()

    class Ended(subprocess.Popen[bytes]):
        def __init__(self) -> None:
            self.returncode = code

        def poll(self) -> int | None:
            return code

        def __del__(self) -> None:
            """Nothing was started."""

    assert read_status(DemoNode(1, "swarm", folder, Ended())).state == state
