"""The loop over what ends or breaks a run: divergence, an error amid a round, and what a resumption goes on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ALICE, BOB
from loop_nodes import SWARM, TASK, DivergesOnce, Quiet, node_of, pair

from node.runtime.loop import MAX_DIVERGED_ROUNDS, Node, play_round, resume, run, save
from node.storage.events import History
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import RolloutQuery
from policies.policy import (
    DivergedError,
)
from policies.rollout import Finish, Rollout, Segment
from policies.strategies.open_groups import UNBEGUN, OpenGroup
from policies.tasks.success_rates import SuccessRates
from swarm.transport.in_memory import MemoryHub
from swarm.transport.silo import SiloTransport


def test_an_error_amid_the_writing_of_a_round_leaves_nothing_of_it(tmp_path: Path) -> None:
    node = node_of(tmp_path, ALICE, SiloTransport(), external=0)
    node.round = 1
    play_round(node)
    node.round = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node.storage.rollout_writer.pack_texts", lambda group: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            play_round(node)
    history = History(tmp_path / "events.sqlite")
    assert [event.round for event in history.rounds()] == [1]
    assert {event.round for event in history.problems()} == {1}
    node.round = 2
    play_round(node)
    assert {r.round for r in RolloutHistory(tmp_path / "events.sqlite").find(RolloutQuery(limit=99))} == {
        1,
        2,
    }


def test_what_a_node_notices_survives_a_resume(tmp_path: Path) -> None:
    alice, bob = pair(tmp_path)
    alice.round = 1
    play_round(alice)
    assert alice.feedback.rates == {TASK.name: 0.5}
    save(alice)
    again = node_of(tmp_path / ALICE[-4:], ALICE, bob.gossip._transport)
    resume(again)
    assert again.feedback == alice.feedback


def test_nothing_external_is_trained_on_twice_across_a_resume(tmp_path: Path) -> None:
    alice, bob = pair(tmp_path)
    alice.round = bob.round = 1
    play_round(alice)
    alice.gossip.step()
    bob.gossip.step()
    save(bob)
    again = node_of(tmp_path / BOB[-4:], BOB, bob.gossip._transport)
    assert resume(again) == 0 and again.round == 1
    again.gossip.step()  # the body is still offered, and still known
    again.round = 2
    assert play_round(again).trained_external == 2
    again.gossip.step()
    again.round = 3
    assert play_round(again).trained_external == 0


def test_divergence_is_counted_then_ends_the_run(tmp_path: Path) -> None:
    silo = node_of(tmp_path, ALICE, SiloTransport(), external=0, rounds=50)
    silo.policy.diverging = True  # type: ignore[attr-defined]
    with pytest.raises(DivergedError, match="learning_rate"):
        run(silo, Quiet())
    life = History(tmp_path / "events.sqlite").life()
    assert [event.what for event in life] == ["diverged"] * MAX_DIVERGED_ROUNDS


def test_a_round_whose_update_diverged_is_told_whole(tmp_path: Path) -> None:
    silo = node_of(
        tmp_path, ALICE, SiloTransport(), external=0, rounds=4, evaluation={"every": 1, "problems": 2}
    )
    silo.policy = DivergesOnce(at=2)
    watcher = Quiet()
    run(silo, watcher)
    assert [event.round for event in watcher.rounds] == [1, 2, 3, 4]
    assert [event.round for event in watcher.evaluations] == [0, 1, 2, 3, 4]
    assert [event.diverged for event in watcher.rounds] == [None, "loss nan", None, None]
    assert watcher.rounds[1].trained_local == 0
    assert silo.policy.version == 3
    history = History(tmp_path / "events.sqlite")
    assert [event.diverged for event in history.rounds()] == [None, "loss nan", None, None]
    assert len(silo.store.problems(2)) == len(silo.store.problems(1)) > 0


def test_what_peers_sent_to_a_diverged_round_is_kept(tmp_path: Path) -> None:
    hub = MemoryHub(SWARM, lambda: 1000.0)
    alice = node_of(tmp_path / "a", ALICE, hub.join(ALICE))
    bob = node_of(tmp_path / "b", BOB, hub.join(BOB), rounds=1, checkpoint={"every": 1})
    alice.round = 1
    play_round(alice)
    alice.gossip.step()
    bob.gossip.step()
    bob.policy = DivergesOnce(at=1)
    run(bob, Quiet())
    history = History(tmp_path / "b" / "events.sqlite")
    assert [event.received for event in history.peers()] == [2]
    assert history.rounds()[0].diverged == "loss nan"
    assert bob.checkpoints.load_latest(bob.policy) is not None


def test_own_partials_are_carried_on_after_a_resumption(tmp_path: Path) -> None:
    """What a round left unfinished is the run's: lost, a resumed run samples other rollouts."""
    alice = node_of(tmp_path / "a", ALICE, SiloTransport(), external=0, rounds=2)
    half = Rollout("so far", (Segment(0, (1, 2), (-1.0, -2.0)),), Finish.UNFINISHED)
    alice.rollouts.open(OpenGroup(1, 0, TASK.problem(7), 2, (half, UNBEGUN)))
    alice.round = 1
    save(alice)
    again = node_of(tmp_path / "a", ALICE, SiloTransport(), external=0, rounds=2)
    assert again.rollouts.partials == []
    resume(again)
    assert again.rollouts.partials == alice.rollouts.partials and len(again.rollouts.partials) == 2
    assert again.rollouts.snapshot() == alice.rollouts.snapshot()


def test_a_resumed_node_draws_by_the_success_rates_of_before(tmp_path: Path) -> None:
    def adaptive() -> Node:
        node = node_of(tmp_path, ALICE, SiloTransport(), external=0)
        node.curriculum = replace(node.curriculum, rates=SuccessRates())
        return node

    node = adaptive()
    node.round = 1
    play_round(node)
    assert node.curriculum.rates is not None and node.curriculum.rates.tasks == {TASK.name: 0.5}
    save(node)
    again = adaptive()
    resume(again)
    assert again.curriculum.rates == node.curriculum.rates
