"""What a person reads: rewards as blocks, refusals with their reasons, a comparison that adds up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.demo.view import DemoView, Standing, uplift
from node.storage.events import EvaluationEvent, ExternalEvent, History, PeerEvent, Store
from node.ui.peers import dealings
from node.ui.run_view import RunView, format_refused, plain_round, sparkline


def test_sparkline_spans_the_blocks_and_keeps_its_width() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([]) == ""
    assert len(sparkline([0.5] * 1000, width=24)) <= 24


def test_refusals_name_their_reasons_most_frequent_first() -> None:
    assert format_refused({}) == "0"
    assert format_refused({"stale": 1, "signature": 3}) == "4 (signature 3, stale 1)"


def test_a_round_alone_says_so() -> None:
    assert "training alone" in plain_round(replace(ROUND, alone=True))
    assert "training alone" not in plain_round(ROUND)


def test_json_output_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    view = RunView("json", "run")
    view.say("for a person")
    view.on_round(ROUND)
    view.on_evaluation(EvaluationEvent(1, 0.5, {"sort@1": 0.5}))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["round", "evaluation"]
    assert lines[0]["refused"] == {"stale": 2}


def standing(number: int, role: str, *rewards: float) -> Standing:
    evaluations = [EvaluationEvent(index, reward, {}) for index, reward in enumerate(rewards)]
    return Standing(number, role, f"{role} {number}", "peer", [ROUND], evaluations, "finished")  # type: ignore[arg-type]


def test_uplift_is_the_mean_over_finished_pairs() -> None:
    members = [standing(1, "swarm", 0.2, 0.6), standing(1, "twin", 0.2, 0.5), standing(2, "swarm", 0.1, 0.9)]
    assert uplift(members) == pytest.approx(0.1)  # node 2 has no twin that finished
    assert uplift([*members, standing(2, "twin", 0.1, 0.6)]) == pytest.approx(0.2)
    assert uplift([standing(1, "swarm", 0.2), standing(1, "twin", 0.2, 0.5)]) is None


def test_demo_report_holds_what_scripts_rely_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    members = [standing(1, "swarm", 0.2, 0.6), standing(1, "twin", 0.2, 0.5)]
    picture = tmp_path / "demo.svg"
    assert DemoView("json", tmp_path, picture).conclude(members) == 0
    report = json.loads(capsys.readouterr().out)
    promised = {"peer", "role", "rounds", "first_reward", "last_reward", "published", "received", "refused"}
    assert promised | {"trained_external", "seconds"} <= report["nodes"][0].keys()
    assert report["uplift"] == pytest.approx(0.1)
    assert picture.read_text().startswith("<svg")


def test_a_failed_member_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = replace(standing(1, "swarm", 0.2), state="failed with exit code 3")
    assert DemoView("plain", tmp_path).conclude([failed]) == 3
    assert "no pair" in capsys.readouterr().out


def test_dealings_add_up_by_peer(tmp_path: Path) -> None:
    store = Store(tmp_path / "events.sqlite")
    store.append(PeerEvent(1, "alice", 2, 1, {"stale": 1}), PeerEvent(2, "bob", 5, 0, {}))
    store.append(PeerEvent(3, "alice", 1, 0, {"stale": 2, "length": 1}))
    store.append(*(ExternalEvent(3, "alice", "sort@1", seed) for seed in (1, 2)))
    store.close()
    rows = dealings(History(tmp_path / "events.sqlite"))
    assert [(row.peer, row.last_round, row.received) for row in rows] == [("bob", 2, 5), ("alice", 3, 3)]
    assert rows[1].refused == {"stale": 3, "length": 1} and rows[1].set_aside == 1
    assert [row.trained_on for row in rows] == [0, 2]
