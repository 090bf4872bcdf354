"""What a demo says that it waits for, and how far baselines are towards equal compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.demo.status import NodeStatus
from node.demo.view import DemoView
from node.demo.waiting import as_shown, waited_for


def member(role: str, state: str, rounds: int = 0) -> NodeStatus:
    """Of 0.9 CPU seconds a round."""
    label = "node 1" if role == "swarm" else "baseline 1"
    played = [replace(ROUND, round=number) for number in range(1, rounds + 1)]
    return NodeStatus(1, role, label, "peer", played, [], state)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "baseline", "told"),
    [
        (("starting", 0), ("starting", 0), "starting the nodes"),
        (("running", 96), ("starting", 0), "starting baseline 1, while the others play"),
        (("running", 96), ("running", 40), "playing: node 1 at round 96, baseline 1 at round 40"),
        (
            ("finished", 100),
            ("running", 40),
            "playing the baselines on, until each has had its node's CPU seconds: baseline 1 40%",
        ),
        (("finished", 100), ("finished", 100), "ending the nodes"),
        (("killed by signal 9", 0), ("running", 3), "playing: baseline 1 at round 3"),
    ],
)
def test_what_is_waited_for_is_told(node: tuple[str, int], baseline: tuple[str, int], told: str) -> None:
    assert waited_for([member("swarm", *node), member("baseline", *baseline)]) == told


@pytest.mark.parametrize(
    ("node", "baseline", "shown"),
    [
        (("finished", 100), ("running", 63), "running, 63%"),
        (("finished", 100), ("running", 113), "running, 100%"),
        (("running", 100), ("running", 63), "running"),
        (("running", 100), ("finished", 96), "waiting"),  # for its node's seconds
        (("finished", 100), ("finished", 96), "finished"),  # within its last rounds, and nobody plays
        (("finished", 100), ("stopped", 40), "stopped"),
    ],
)
def test_a_baseline_shows_its_share_of_the_seconds_and_is_not_finished_before_its_end(
    node: tuple[str, int], baseline: tuple[str, int], shown: str
) -> None:
    statuses = as_shown([member("swarm", *node), member("baseline", *baseline)])
    assert [status.state for status in statuses] == [node[0], shown]


def test_a_baseline_that_waits_to_be_sent_on_says_so() -> None:
    others = replace(member("swarm", "running", 90), number=2)
    statuses = as_shown([member("swarm", "finished", 100), member("baseline", "finished", 60), others])
    assert statuses[1].state == "waiting"


def test_the_wait_for_the_nodes_is_one_with_one_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    view = DemoView("plain", tmp_path)
    now = 100.0
    monkeypatch.setattr("node.ui.patience.time.monotonic", lambda: now)
    view.wait_for("starting the nodes")
    now = 112.0
    view.show([member("swarm", "starting"), member("baseline", "starting")])
    view.patience.say_now()
    assert capsys.readouterr().out == "still starting the nodes, 12 s so far\n"


def test_the_line_on_a_long_wait_follows_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = DemoView("plain", tmp_path)
    view.show([member("swarm", "running", 1), member("baseline", "starting")])
    view.patience.say_now()
    view.show([member("swarm", "running", 2), member("baseline", "running", 1)])
    view.patience.say_now()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("still starting baseline 1, while the others play, ")
    assert lines[1].startswith("still playing: node 1 at round 2, baseline 1 at round 1, ")
