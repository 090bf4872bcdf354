"""What a node's owner is told of once: equal seeds, silence, and what the swarm did not bring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.config.reading import load_config
from node.runtime.notices import CLOCK_RIGHT, REMEMBERED, SAME_PROBLEMS, Notices, SharedProblems
from node.runtime.round_events import describe_peers
from node.storage.run_folder import RunFolder
from policies.rollout import Finish, Group, Problem, Rollout
from policies.tasks import build_task
from policies.tasks.curriculum import Curriculum
from swarm.admission.peer_records import PeerRecords
from swarm.admission.refusal import Reason
from swarm.admission.verdict import Outcome, Verdict
from swarm.wire.identity import Identity

BOB = Identity(b"b" * 32).peer_id


def _own(seed: int, reward: float = 0.5) -> Group:
    rollouts = (Rollout("a", (), Finish.STOP, reward), Rollout("b", (), Finish.STOP, reward))
    return Group(Problem("sort@1", seed, "prompt", "answer"), rollouts)


def _theirs(seed: int, reward: float = 0.5) -> Verdict:
    return Verdict(Outcome.ACCEPTED, BOB, "sort@1", seed, 2, mean_reward=reward)


def test_two_nodes_meet_other_problems_by_default_and_a_run_keeps_its_seed(tmp_path: Path) -> None:
    config = load_config("tiny")
    tasks = [build_task(task.spec) for task in config.tasks]
    seeds, problems = [], []
    for name in ("alice", "bob"):
        folder = RunFolder(tmp_path / name)
        seeded = folder.create(config)
        assert folder.read_config().seed == seeded.run_seed
        assert seeded.seeded(1) == seeded
        seeds.append(seeded.run_seed)
        drawn = Curriculum(tasks, [1.0] * len(tasks), seeded.run_seed).draw(1, 0, 50)
        problems.append({(problem.task, problem.seed) for problem in drawn})
    assert seeds[0] != seeds[1]
    assert not problems[0] & problems[1]


def test_the_seed_of_a_config_is_kept(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "a").create(load_config("tiny", ["seed=11"])).run_seed == 11


def test_a_peer_with_the_same_problems_is_told_of_once_whoever_meets_them_first() -> None:
    for own_first in (True, False):
        shared, found = SharedProblems(), []
        for seed in range(2 * SAME_PROBLEMS):
            if own_first:
                shared.add_own([_own(seed)], set())
            shared.add_external([_theirs(seed)])
            if not own_first:
                shared.add_own([_own(seed)], set())
            found.append(shared.new_peers())
        assert found == [[]] * (SAME_PROBLEMS - 1) + [[BOB]] + [[]] * SAME_PROBLEMS


def test_problems_that_are_passed_on_say_nothing_about_seeds() -> None:
    taken_over, unsolved_here, unsolved_there = SharedProblems(), SharedProblems(), SharedProblems()
    for seed in range(50):
        taken_over.add_own([_own(seed)], {("sort@1", seed)})
        taken_over.add_external([_theirs(seed)])
        unsolved_here.add_own([_own(seed, 0.0)], set())
        unsolved_here.add_external([_theirs(seed)])
        unsolved_there.add_own([_own(seed)], set())
        unsolved_there.add_external([_theirs(seed, 0.0)])
    assert [s.new_peers() for s in (taken_over, unsolved_here, unsolved_there)] == [[], [], []]


def test_what_is_remembered_is_bounded() -> None:
    shared = SharedProblems()
    shared.add_external(_theirs(seed) for seed in range(2 * REMEMBERED))
    shared.add_own([_own(seed) for seed in range(SAME_PROBLEMS)], set())
    assert shared.new_peers() == []


def test_silence_is_told_when_it_begins_and_ends() -> None:
    notices = Notices()
    event = ROUND
    for number, alone in enumerate([False, True, True, False, False], 1):
        notices.after_round(replace(event, round=number, alone=alone), [], [], set())
    assert [(notice.round, notice.what) for notice in notices.drain()] == [(2, "alone"), (4, "heard")]
    assert notices.drain() == []
    late = Notices()  # of a node that begins when all others have gone
    late.after_round(replace(event, round=1, alone=True), [], [], set())
    [told] = late.drain()
    assert (told.round, told.what) == (1, "alone") and "no peers heard" in told.note


def test_many_cut_rollouts_are_told_once_with_what_to_do() -> None:
    notices = Notices()
    for number, share in enumerate([0.4, 0.6, 1.0, 0.3, 0.6, 0.1, 0.5], 1):
        notices.after_round(replace(ROUND, round=number, cut_share=share), [], [], set())
    told = notices.drain()
    assert [(notice.round, notice.what) for notice in told] == [(2, "cut"), (7, "cut")]
    assert "60% of this round's rollouts were cut at policy.generation.max_new_tokens" in told[0].note
    assert (
        "Training itself teaches to end in time" in told[0].note
    )  # true where short answers are asked for, too


def test_three_rounds_without_signal_are_told_now_and_then_with_what_helps() -> None:
    notices, told = Notices(), []
    courses = [None, None, 0.1, None, None, None, None, 0.1, *[None] * 60]
    for number, loss in enumerate(courses):
        notices.after_round(replace(ROUND, round=number, loss=loss, reward=0.0), [], [], set())
        told += [(event.round, event.note) for event in notices.drain() if event.what == "no signal"]
    assert [number for number, _ in told] == [5, 55]
    assert all(help in told[0][1] for help in ("easier rows", "a part of the reward", "strategy.rollouts"))
    solved, idle = Notices(), Notices()
    for number in range(3):
        solved.after_round(replace(ROUND, round=number, loss=None, reward=1.0), [], [], set())
        idle.after_round(replace(ROUND, round=number, loss=None, tokens=0), [], [], set())
    assert "harder rows" in solved.drain()[-1].note and not idle.drain()


def test_rounds_without_any_verdict_are_not_taken_for_hard_ones() -> None:
    notices = Notices()
    for number in range(3):
        event = replace(
            ROUND,
            round=number,
            loss=None,
            reward=0.0,
            rewards_by_task={},
            no_verdict=64,
            why_unjudged="units, on 'x': it raised SystemExit",
        )
        notices.after_round(event, [], [], set())
    first, last = notices.drain()
    assert (
        "64 rollouts without a verdict" in first.note
        and "The first: units, on 'x': it raised SystemExit" in first.note
    )
    assert "no verdict on any rollout" in last.note and "easier" not in last.note


def test_what_the_transport_warns_of_is_told_once_a_kind_and_again_when_it_came_back_and_clocks_that_are_right() -> (
    None
):
    notices = Notices()
    for warnings in (
        {},
        {"same key": "stop one"},
        {"same key": "stop one", "clock": "set it"},
        {},
        {"clock": "again"},
    ):
        notices.after_look(3, warnings)
    assert [(event.what, event.note) for event in notices.drain()] == [
        ("same key", "stop one"),
        ("clock", "set it"),
        ("clock right", CLOCK_RIGHT),
        ("clock", "again"),
    ]


def test_refused_values_are_told_as_they_come() -> None:
    notices = Notices()
    told = [
        notices.new_refused_values(seen)
        for seen in ({}, {"a": 2}, {"a": 2, "b": 1}, {"a": 5, "b": 1}, {"a": 1})
    ]
    assert told == [
        {},
        {"a": 2},
        {"b": 1},
        {"a": 3},
        {"a": 1},
    ]  # at last from a transport process started anew
    [event] = describe_peers(4, [], {"a": 3}, PeerRecords(lambda: 0.0))
    assert (event.peer, event.received, event.refused) == ("a", 0, {"dht_value": 3})
    [event] = describe_peers(4, [_theirs(1)], {BOB: 2}, PeerRecords(lambda: 0.0))
    assert (event.received, event.refused) == (1, {"dht_value": 2})


def test_known_texts_are_counted_with_what_was_left_out() -> None:
    partly = replace(_theirs(1), known=2, left_out=(Reason.ENCODING,))
    wholly = Verdict(Outcome.KNOWN, BOB, known=8)
    [event] = describe_peers(4, [partly, wholly, _theirs(2)], {}, PeerRecords(lambda: 0.0))
    assert event.left_out == {"known": 10, "encoding": 1} and event.received == 3
    [event] = describe_peers(4, [_theirs(2)], {}, PeerRecords(lambda: 0.0))
    assert event.left_out == {}


def test_a_peer_that_does_not_deliver_has_an_event_with_its_standing() -> None:
    records = PeerRecords(lambda: 0.0)
    for _ in range(4):
        records.note_undelivered(BOB)
    [event] = describe_peers(7, [], {}, records)
    assert (event.peer, event.standing, event.why) == (BOB, "resting", "not delivered 4.0")
    assert describe_peers(8, [], {}, records) == []


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("8.8.8.8", "public IPv4"),
        ("192.168.1.7", "private IPv4"),
        ("2001:4860:4860::8888", "public IPv6"),
        ("fd00::1", "private IPv6"),
        ("127.0.0.1", "loopback"),
        ("node.example", "DNS name"),
        ("", ""),
    ],
)
def test_a_peers_event_tells_the_kind_of_its_address(host: str, kind: str) -> None:
    records = PeerRecords(lambda: 0.0)
    records.note_delivered(BOB, host, [])
    [event] = describe_peers(4, [], {}, records)
    assert event.address == kind
