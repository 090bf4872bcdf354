"""What the page shows of a run and its baseline, made from stores as the product writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND
from told_spans import SPANS

from node.baseline.uplift import Point
from node.config.schema import Config, parse_config
from node.storage.events import (
    EvaluationEvent,
    Event,
    ExternalEvent,
    History,
    LifeEvent,
    PeerEvent,
    RoundEvent,
    Store,
)
from node.web.curves import MAX_POINTS, curve, moving, thinned
from node.web.dashboard_data import Dashboard, Source, plain, project
from node.web.figures import span
from node.web.kept import KeptHistory

PAGE = Path(__file__).parents[4] / "node" / "web" / "page"
NOW = 4_000_000_000.0  # Unix seconds, after whatever the tests write
FACTS = {
    "own": 0.6,
    "baseline": 0.4,
    "low": 0.08,
    "high": 0.32,
    "cpu_seconds": 8.0,
    "baseline_cpu_seconds": 8.1,
    "gain": 0.2,
}


def config(rounds: int, *, baseline: bool = True, problems: int = 60) -> Config:
    return parse_config(
        {
            "tasks": [{"name": "sort"}],
            "rounds": rounds,
            "silo_baseline": baseline,
            "swarm": {"type": "dht"},
            "evaluation": {"problems": problems},
        }
    )


def rounds(count: int, cpu: float) -> list[RoundEvent]:
    return [
        replace(ROUND, round=n, reward=n / 100, policy_version=n, cpu_seconds=cpu)
        for n in range(1, count + 1)
    ]


def evaluation(at: int, reward: float) -> EvaluationEvent:
    return EvaluationEvent(at, reward, {"sort@1": reward})


def source(path: Path, configured: Config, *events: Event) -> Source:
    with closing(Store(path)) as store:
        store.append(LifeEvent(0, "started", "started: tiny", {"peer": "me"}), *events)
    return Source(configured, History(path))


def shown(
    tmp_path: Path, own: Sequence[Event], baseline: Sequence[Event] | None, length: int = 4
) -> Dashboard:
    """A node of `length` rounds and its baseline, which was sent on to 8 rounds, as `murmur run` sends it."""
    node = source(tmp_path / "own", config(length), *own)
    control = (
        None if baseline is None else source(tmp_path / "baseline", config(8, baseline=False), *baseline)
    )
    return project("run-1", node, control, NOW)


def test_the_node_is_shown_with_its_curves_peers_and_standing(tmp_path: Path) -> None:
    peers = [PeerEvent(1, "alice", 3, 1, {"stale": 2}), ExternalEvent(2, "alice", "sort@1", 7)]
    page = shown(tmp_path, [evaluation(0, 0.1), *rounds(3, 2.0), *peers, evaluation(3, 0.4)], None)
    node = page.node
    assert (page.name, page.peer, node.state, node.note) == ("run-1", "me", "running", "started: tiny")
    assert (node.round, node.rounds, node.policy_version, node.cpu_seconds) == (3, 4, 3, 6.0)
    assert node.rewards == [Point(1, 2.0, 0.01), Point(2, 4.0, 0.02), Point(3, 6.0, 0.03)]
    assert node.held_out == [Point(0, 0.0, 0.1), Point(3, 6.0, 0.4)]
    assert (node.first_by_task, node.last_by_task) == ({"sort@1": 0.1}, {"sort@1": 0.4})
    assert node.quiet_seconds is not None and 0 < node.quiet_seconds < NOW
    [alice] = page.peers
    assert (alice.peer, alice.received, alice.set_aside, alice.trained_on) == ("alice", 3, 1, 1)
    sharing = page.sharing
    assert (sharing.published, sharing.received, sharing.refused) == (12, 9, {"stale": 6})
    assert sharing.external_share == pytest.approx(6 / 18)


def test_a_notice_of_another_peer_leaves_the_page_the_nodes_own_name(tmp_path: Path) -> None:
    told = LifeEvent(2, "same seed", "alice meets the same problems", {"peer": "alice"})
    assert shown(tmp_path, [*rounds(2, 2.0), told], None).peer == "me"


def test_a_run_that_has_not_begun_is_shown_as_such(tmp_path: Path) -> None:
    page = project("new", Source(config(4), History(tmp_path / "absent")), None, NOW)
    assert (page.node.state, page.node.round, page.node.quiet_seconds) == ("starting", 0, None)
    assert (page.node.rewards, page.node.held_out, page.peers) == ([], [], [])
    assert page.sharing.external_share is None
    assert page.comparison.stage == "awaited" and "not started" in page.comparison.words


def test_without_a_baseline_or_an_evaluation_nothing_is_promised(tmp_path: Path) -> None:
    alone = project("a", source(tmp_path / "alone", config(4, baseline=False)), None, NOW).comparison
    assert (alone.stage, alone.figures) == ("none", None) and "no silo baseline" in alone.words
    node = source(tmp_path / "own", config(4, problems=0))
    blind = project("b", node, source(tmp_path / "baseline", config(4, problems=0)), NOW).comparison
    assert (blind.stage, blind.figures) == ("none", None) and "switched off" in blind.words


def test_until_both_were_judged_after_the_start_no_figure_is_given(tmp_path: Path) -> None:
    start = evaluation(0, 0.1)
    told = shown(tmp_path, [start, *rounds(2, 2.0), evaluation(2, 0.4)], [start, *rounds(3, 1.0)]).comparison
    assert (told.stage, told.figures) == ("awaited", None)
    assert "round 2 of 4, its silo baseline at round 3." in told.words


def test_an_early_figure_is_that_of_evaluations_at_like_compute(tmp_path: Path) -> None:
    own = [evaluation(0, 0.1), *rounds(4, 2.0), evaluation(1, 0.3), evaluation(2, 0.6), evaluation(4, 0.9)]
    baseline = [
        evaluation(0, 0.1),
        *rounds(4, 1.0),
        evaluation(4, 0.4),
        replace(ROUND, round=5, cpu_seconds=1.0),
    ]
    told = shown(tmp_path, own, baseline).comparison
    assert told.stage == "early" and told.figures is not None
    assert (told.figures["cpu_seconds"], told.figures["baseline_cpu_seconds"]) == (4.0, 4.0)
    assert told.figures["gain"] == pytest.approx(0.2)
    assert told.words.endswith("had the node's 8.0 s of CPU time; so far 5.0 s.")


@pytest.mark.parametrize(
    ("node_in_use", "last", "state", "words"),
    [
        (True, "finished", "waits to go on", "goes on until it has had the node's 8.0 s of CPU time; so far 4.0 s."),
        (False, "finished", "finished", "has had 4.0 s of the node's 8.0 s of CPU time, and no process plays it on. "
         "They are compared after: murmur run --resume --rounds 8"),
        (False, "stopped", "stopped", "stopped at round 4, has had 4.0 s"),
        (False, "started", "ended early", "ended early at round 4, has had 4.0 s"),
    ],
)  # fmt: skip
def test_a_baseline_with_less_compute_is_not_both_finished_and_going_on(
    tmp_path: Path, node_in_use: bool, last: str, state: str, words: str
) -> None:
    node = source(tmp_path / "own", config(4), *rounds(4, 2.0), LifeEvent(4, "finished"))
    told = source(tmp_path / "baseline", config(4, baseline=False), *rounds(4, 1.0), LifeEvent(4, last))
    control = replace(told, in_use=False, resumption="murmur run --resume")
    page = project("run-1", replace(node, in_use=node_in_use), control, NOW)
    assert page.baseline is not None and page.baseline.state == state
    assert (
        page.comparison.words.startswith("The node is done. Its silo baseline, ")
        and words in page.comparison.words
    )
    assert ("goes on" in page.comparison.words) == (state == "waits to go on")


def test_a_baseline_with_enough_compute_plays_to_its_last_round(tmp_path: Path) -> None:
    own = [evaluation(0, 0.1), *rounds(4, 1.0), LifeEvent(4, "finished")]
    words = shown(tmp_path, own, rounds(6, 1.0)).comparison.words
    assert words.endswith("has had as much CPU time, and is at round 6 of 8, after which it is evaluated.")


@pytest.mark.parametrize(("seconds", "told"), SPANS)
def test_every_length_of_time_has_one_form(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_once_compute_is_equal_it_is_done_though_the_run_did_not_tell_it(tmp_path: Path) -> None:
    own = [evaluation(0, 0.1), *rounds(4, 2.0), evaluation(4, 0.6)]
    baseline = [evaluation(0, 0.1), *rounds(8, 1.0), evaluation(8, 0.6)]
    told = shown(tmp_path, own, baseline).comparison
    assert told.stage == "done" and told.figures is not None and told.figures["gain"] == 0.0
    assert told.words.startswith("The interval includes 0")


def test_the_uplift_that_the_run_told_is_the_one_shown(tmp_path: Path) -> None:
    own = [evaluation(0, 0.1), *rounds(4, 2.0), LifeEvent(4, "baseline", "what sharing brought", FACTS)]
    told = shown(tmp_path, own, rounds(8, 1.0)).comparison
    assert (told.stage, told.figures) == ("done", FACTS)
    assert told.words == "In this run sharing helped: the whole interval is above 0."


def test_an_uplift_told_before_the_run_was_resumed_for_more_rounds_is_not_shown(tmp_path: Path) -> None:
    own = [evaluation(0, 0.1), *rounds(4, 2.0), LifeEvent(4, "baseline", "", FACTS), LifeEvent(4, "resumed")]
    assert shown(tmp_path, own, rounds(8, 1.0), length=6).comparison.stage == "awaited"


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([LifeEvent(4, "finished"), LifeEvent(4, "baseline")], "finished"),
        ([LifeEvent(3, "stopped"), LifeEvent(3, "resumed")], "running"),
        ([LifeEvent(5, "diverged")], "diverged"),
        ([LifeEvent(2, "diverged")], "running"),  # and played on
    ],
)
def test_the_newest_standing_is_told(tmp_path: Path, events: list[LifeEvent], state: str) -> None:
    assert shown(tmp_path, [*rounds(4, 1.0), *events], None).node.state == state


def test_figures_that_are_not_finite_are_absent_in_json(tmp_path: Path) -> None:
    wild = [replace(ROUND, reward=math.nan, cpu_seconds=math.inf), evaluation(0, -math.inf)]
    data = plain(shown(tmp_path, wild, None))
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["node"]["rewards"] == [{"round": 1, "cpu_seconds": None, "reward": None}]
    assert data["node"]["last_by_task"] == {"sort@1": None}


def test_long_curves_are_thinned_by_means_and_keep_their_end() -> None:
    points = [Point(n, float(n), float(n % 2)) for n in range(1, 10 * MAX_POINTS + 1)]
    thin = thinned(points)
    assert len(thin) == MAX_POINTS and thin[-1].round == points[-1].round
    assert {point.reward for point in thin} == {0.5}
    assert thinned(points[:MAX_POINTS]) == points[:MAX_POINTS]


def test_the_moving_mean_is_of_at_most_five_rounds() -> None:
    means = moving(curve([replace(ROUND, round=n, reward=float(n)) for n in range(1, 8)]))
    assert [point.reward for point in means] == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]


def test_a_kept_history_reads_on_and_forgets_what_a_resumed_run_forgot(tmp_path: Path) -> None:
    kept, fresh = KeptHistory(tmp_path / "events"), History(tmp_path / "events")
    assert kept.rounds() == []
    with closing(Store(tmp_path / "events")) as store:
        store.append(*rounds(3, 1.0), LifeEvent(3, "stopped"))
        assert kept.rounds() == fresh.rounds() and kept.life() == fresh.life()
        store.append(replace(ROUND, round=4))
        assert [event.round for event in kept.rounds()] == [1, 2, 3, 4]
        store.rewind(2)
        store.append(*(replace(ROUND, round=n, reward=0.9) for n in (3, 4)))  # in the rows of the forgotten
        assert kept.rounds() == fresh.rounds() and kept.rounds()[-1].reward == 0.9
        store.rewind(1)
        assert kept.rounds() == fresh.rounds() and len(kept.rounds()) == 1


def test_a_run_that_nobody_plays_any_more_says_so_and_how_to_go_on(tmp_path: Path) -> None:
    left = source(tmp_path / "own", config(4), *rounds(2, 1.0))
    killed = project("a", replace(left, in_use=False, resumption="murmur run --resume"), None, NOW).node
    assert killed.state == "ended early" and killed.note.endswith("murmur run --resume")
    stopped = replace(left, in_use=False, cause="stopped by Ctrl-C")
    assert "it was stopped by Ctrl-C. It goes on" in project("a", stopped, None, NOW).node.note
    ended = source(tmp_path / "ended", config(2), *rounds(2, 1.0), LifeEvent(2, "finished", "finished"))
    assert project("b", replace(ended, in_use=False), None, NOW).node.state == "finished"
    assert project("c", left, None, NOW).node.state == "running"


def test_a_silo_has_a_page_of_its_own(tmp_path: Path) -> None:
    alone = parse_config({"tasks": [{"name": "sort"}], "rounds": 4})
    assert project("a", source(tmp_path / "alone", alone), None, NOW).silo
    assert not project("b", source(tmp_path / "shared", config(4)), None, NOW).silo
    page = (PAGE / "index.html").read_text()
    sections = [section for section in page.split("<section")[1:] if "of-swarm" in section.split(">")[0]]
    assert [title in "".join(sections) for title in ("What sharing brought", "Learning curves")] == [
        True,
        False,
    ]
    assert 'byId("to-swarm").hidden = data.silo' in (PAGE / "main.js").read_text()


def test_the_round_of_the_newest_evaluation_is_told(tmp_path: Path) -> None:
    page = shown(tmp_path, [evaluation(0, 0.1), *rounds(3, 2.0), evaluation(2, 0.4)], None)
    assert page.node.evaluated == 2 and config(4).evaluation.every > 0
    assert "after round ${track.evaluated}" in (PAGE / "learning.js").read_text()


def test_the_nodes_of_a_demo_are_judged_together(tmp_path: Path) -> None:
    def pair(number: int, own: float, other: float) -> tuple[Source, Source]:
        sides = (own, 2.0, config(4)), (other, 2.1, config(4, baseline=False))
        return tuple(  # type: ignore[return-value]
            source(
                tmp_path / f"{side}-{number}",
                chosen,
                evaluation(0, 0.1),
                *rounds(4, cpu),
                evaluation(4, reward),
            )
            for side, (reward, cpu, chosen) in enumerate(sides)
        )

    demo = [pair(1, 0.50, 0.42), pair(2, 0.60, 0.45), pair(3, 0.55, 0.40)]
    alone = project("swarm-1", *demo[0], NOW).comparison
    assert alone.words.startswith("The interval includes 0")
    together = project("swarm-1", *demo[0], NOW, demo).comparison
    assert "All nodes of the demo together: +0.127 over 3 nodes" in together.words
    assert together.words.endswith("In this demo sharing helped: the whole interval is above 0.")
    unfinished = [*demo, (demo[0][0], replace(demo[0][1], config=config(9)))]
    assert project("swarm-1", *demo[0], NOW, unfinished).comparison.words == alone.words


def test_a_narrow_page_shows_every_cell_with_its_heading() -> None:
    style, script = (PAGE / "page.css").read_text(), (PAGE / "elements.js").read_text()
    narrow = style.split("@media (max-width: 40rem)")[1]
    assert "content: attr(data-head)" in narrow and '"data-head": heads[place]' in script
    assert ".scroll { overflow-x: visible; }" in narrow and ".wide thead { display: none; }" in narrow
