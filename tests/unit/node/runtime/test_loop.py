"""The loop with a scripted policy over the in-memory transport: what is trained on, saved and counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ALICE, BOB
from loop_nodes import SWARM, TASK, HalfRight, NeverRight, Quiet, node_of, pair

from node.baseline.equal_compute import cpu_seconds
from node.config.sections.sampler import SamplerConfig
from node.runtime.loop import filter_advantages, heed_owner, play_round, resume, run, save
from node.runtime.round_events import PHASES
from node.storage.events import History
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import RolloutQuery
from node.storage.trust_lists import TrustFile
from policies.policy import (
    Rounding,
    SamplerAgreement,
    UpdateReport,
    UpdateSpec,
)
from policies.rollout import Finish, Group, Problem, Rollout, TrainGroup
from swarm.admission.peer_records import Standing
from swarm.process import ended_children_cpu_seconds
from swarm.transport.base import TransportStatus
from swarm.transport.in_memory import MemoryHub
from swarm.transport.silo import SiloTransport
from swarm.wire.identity import Identity


def test_a_round_keeps_its_rollouts_with_what_became_of_them(tmp_path: Path) -> None:
    alice, bob = pair(tmp_path)
    alice.round = bob.round = 1
    play_round(alice)
    alice.gossip.step()
    bob.gossip.step()
    event = play_round(bob)
    history = RolloutHistory(tmp_path / BOB[-4:] / "events.sqlite")
    own, external = (history.find(RolloutQuery(external=kind)) for kind in (False, True))
    assert (len(own), len(external)) == (8, 8) and {rollout.origin for rollout in external} == {ALICE}
    for rollout in [*own, *external]:
        assert rollout.advantage == pytest.approx(rollout.reward - 0.5) and rollout.reason is None
        assert rollout.prompt == TASK.problem(rollout.seed).prompt
        assert TASK.score(TASK.problem(rollout.seed), rollout.text) == rollout.reward
        assert rollout.tokens >= len(rollout.text) and rollout.finish is Finish.STOP
    assert sum(event.phases.values()) <= event.seconds and set(event.phases) == set(PHASES)
    assert history.find(RolloutQuery(round=2)) == []


class HearsAmidUpdates(HalfRight):
    """Peers' groups come while it trains, as they do by the gossip's own thread."""

    def __init__(self, hear: Callable[[], object]) -> None:
        super().__init__()
        self._hear = hear

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport:
        self._hear()
        return super().update(batch, spec)


def test_what_waits_was_received_before(tmp_path: Path) -> None:
    """Groups that come amid an update are of the next round: it counts them as received, and what it leaves waits."""
    hub = MemoryHub(SWARM, lambda: 1000.0)
    alice, bob = (node_of(tmp_path / peer[-4:], peer, hub.join(peer), external=1) for peer in (ALICE, BOB))
    alice.round = bob.round = 1
    play_round(alice)
    alice.gossip.step()
    bob.policy = HearsAmidUpdates(bob.gossip.step)
    first = play_round(bob)
    bob.round = 2
    second = play_round(bob)
    assert (first.received, first.trained_external, first.pool) == (0, 0, 0)
    assert (second.received, second.trained_external, second.pool) == (2, 1, 1)


class CutShort(HalfRight):
    """Wrong answers go on to the cap."""

    def _rollout(self, problem: Problem, right: bool) -> Rollout:
        rollout = super()._rollout(problem, right)
        return rollout if right else replace(rollout, finish=Finish.LENGTH)


def test_a_round_tells_the_share_of_its_rollouts_that_was_cut(tmp_path: Path) -> None:
    node = node_of(tmp_path, ALICE, MemoryHub(SWARM, lambda: 1000.0).join(ALICE), external=0)
    assert play_round(node).cut_share == 0.0
    node.policy = CutShort()
    event = play_round(node)
    assert event.cut_share == 0.5
    assert [notice.what for notice in node.notices.drain()] == ["cut"]


def test_what_was_not_trained_on_says_why(tmp_path: Path) -> None:
    alice, bob = pair(tmp_path)
    alice.policy, alice.round, bob.round = NeverRight(), 1, 1
    bob.policy.diverging = True  # type: ignore[attr-defined]
    play_round(alice)
    alice.gossip.step()
    bob.gossip.step()
    play_round(bob)
    history = RolloutHistory(tmp_path / BOB[-4:] / "events.sqlite")
    own, external = (history.find(RolloutQuery(external=kind)) for kind in (False, True))
    assert {(rollout.advantage, rollout.reason) for rollout in own} == {(None, "diverged")}
    assert {(rollout.advantage, rollout.reason) for rollout in external} == {(None, "all_alike")}
    unsolved = RolloutHistory(tmp_path / ALICE[-4:] / "events.sqlite").find(RolloutQuery())
    assert {rollout.reason for rollout in unsolved} == {"all_wrong"}


def test_a_round_trains_on_own_and_external_groups(tmp_path: Path) -> None:
    alice, bob = pair(tmp_path)
    alice.round = bob.round = 1
    first = play_round(alice)
    assert (first.reward, first.trained_local, first.trained_external, first.missing_external) == (
        0.5,
        2,
        0,
        2,
    )
    alice.gossip.step()
    bob.gossip.step()
    event = play_round(bob)
    assert (event.received, event.trained_local, event.trained_external, event.missing_external) == (
        2,
        2,
        2,
        0,
    )
    own, external = bob.policy.batches[0][:2], bob.policy.batches[0][2:]  # type: ignore[attr-defined]
    assert [t.group.origin for t in own] == [None, None] and [t.group.origin for t in external] == [
        ALICE,
        ALICE,
    ]
    assert all(t.advantages == (0.5, -0.5, 0.5, -0.5) for t in (*own, *external))
    assert all(r.logprobs is None for t in external for r in t.group.rollouts)
    alice.round = 2
    assert play_round(alice).published == 2
    history = History(tmp_path / BOB[-4:] / "events.sqlite")
    assert [event.received for event in history.peers()] == [2]
    trained = {(t.group.origin, t.group.problem.task, t.group.problem.seed) for t in external}
    assert {(e.peer, e.task, e.seed) for _, e in history.timed("external")} == trained  # type: ignore[union-attr]


def test_the_owners_word_holds_from_the_next_round_on(tmp_path: Path) -> None:
    hub, names = MemoryHub(SWARM, lambda: 1000.0), [Identity(bytes([n]) * 32).peer_id for n in (1, 2)]
    alice, bob = (node_of(tmp_path / name[-4:], name, hub.join(name)) for name in names)
    alice.round = 1
    play_round(alice)
    alice.gossip.step()
    bob.gossip.step()
    owner = TrustFile(tmp_path / bob.verifier.peer[-4:] / "trust.json")
    for word, trained in (("deny", 0), ("allow", 2)):
        owner.keep(alice.verifier.peer, word)
        heed_owner(bob)
        bob.round += 1
        assert play_round(bob).trained_external == trained  # what waits of a denied peer waits on
    owner.keep(alice.verifier.peer, "record")
    heed_owner(bob)
    assert bob.verifier.records.standing(
        alice.verifier.peer
    ) is Standing.KNOWN and "learn" in bob.verifier.records.reason(alice.verifier.peer)


class CostlySilo(SiloTransport):
    """A transport that tells CPU seconds of processes of its own."""

    told = reaped = 0.0

    def status(self) -> TransportStatus:
        return replace(super().status(), cpu_seconds=self.told, ended_cpu_seconds=self.reaped)


def test_a_round_tells_what_it_is_at(tmp_path: Path) -> None:
    node, told = node_of(tmp_path / "node", ALICE, SiloTransport(), external=0), []
    node.entered = told.append
    play_round(node)
    assert told == ["sampling", "exchange", "update"]


def test_a_round_counts_what_its_transport_took_since_the_round_before(tmp_path: Path) -> None:
    transport = CostlySilo()
    node = node_of(tmp_path / "node", ALICE, transport, external=0)
    transport.told = 100.0  # before the first round
    first = play_round(node)
    second = play_round(node)
    transport.told = 107.0
    third = play_round(node)
    taken = [event.transport_cpu_seconds for event in (first, second, third)]
    assert taken == pytest.approx([100.0, 0.0, 7.0])
    assert 100.0 <= first.cpu_seconds < 107.0 and second.cpu_seconds < 7.0 <= third.cpu_seconds
    assert cpu_seconds([first, second, third]) > 107.0


def test_a_round_counts_its_scorers_processes_and_no_transport_twice(tmp_path: Path) -> None:
    transport = CostlySilo()
    node = node_of(tmp_path / "node", ALICE, transport, external=0)
    burn = "import time\nwhile time.process_time() < 0.4: pass"

    def sample(*arguments: object, **options: object) -> list[Rollout]:
        """Where a process of the transport ends in the round, `reaped` says so."""
        before = ended_children_cpu_seconds()
        subprocess.run([sys.executable, "-c", burn], check=True)
        transport.reaped += (ended_children_cpu_seconds() - before) * transports
        return HalfRight().sample(*arguments, **options)  # type: ignore[arg-type]

    node.policy.sample = sample  # type: ignore[method-assign]
    transports = 0
    assert play_round(node).cpu_seconds >= 0.4
    transports = 1
    assert play_round(node).cpu_seconds < 0.4


@pytest.mark.parametrize(("kind", "expected"), [("all", (0.5, -0.5)), ("positive", (0.5, 0.0))])
def test_what_an_external_rollout_is_worth(kind: str, expected: tuple[float, float]) -> None:
    sampler = SamplerConfig(external=1, external_advantages=kind)
    problem = TASK.problem(1)
    rollouts = tuple(Rollout("x", (), Finish.STOP, reward) for reward in (1.0, 0.0))
    foreign, own = (TrainGroup(Group(problem, rollouts, origin), (0.5, -0.5)) for origin in (ALICE, None))
    assert filter_advantages(foreign, sampler).advantages == expected
    assert filter_advantages(own, sampler).advantages == (0.5, -0.5)


def test_an_adaptive_split_moves_places_to_whom_they_serve(tmp_path: Path) -> None:
    sampler = {"local": 3, "external": 3, "split": "adaptive"}
    alice = node_of(tmp_path / "alice", ALICE, MemoryHub(SWARM, lambda: 1000.0).join(ALICE), sampler=sampler)
    events = []
    for number in (1, 2):  # own groups have a signal, and nobody else is there: all places but one become own
        alice.round = number
        events.append(play_round(alice))
    assert [(e.trained_local, e.missing_external) for e in events] == [(3, 3), (5, 1)]


def test_relief_takes_up_what_peers_could_not_solve(tmp_path: Path) -> None:
    hub = MemoryHub(SWARM, lambda: 1000.0)
    sampler = {"local": 2, "external": 2, "retry_unsolved": 1.0}
    alice, bob = (node_of(tmp_path / p[-4:], p, hub.join(p), sampler=sampler) for p in (ALICE, BOB))
    alice.policy = NeverRight()
    alice.round = bob.round = 1
    play_round(alice)
    alice.gossip.step()
    bob.gossip.step()
    play_round(bob)  # hears of it
    save(bob)
    hard = {problem.seed for problem in alice.store.problems(1)}
    assert {unsolved.seed for unsolved in bob.feedback.unsolved} == hard
    assert len(hard) == 2
    again = node_of(tmp_path / BOB[-4:], BOB, hub.join(BOB), sampler=sampler)
    resume(again)
    for node in (bob, again):
        node.round = 2
        play_round(node)
        assert {problem.seed for problem in node.store.problems(2)} == hard
        assert node.feedback.unsolved == ()
        node.store.rewind(1)


def test_a_silo_shares_nothing_and_misses_nobody(tmp_path: Path) -> None:
    silo = node_of(tmp_path, ALICE, SiloTransport(), external=0, rounds=3, evaluation={"problems": 2})
    watcher = Quiet()
    run(silo, watcher)
    assert [event.round for event in watcher.rounds] == [1, 2, 3]
    assert [event.round for event in watcher.evaluations] == [0, 3]
    assert all(e.published == e.received == e.missing_external == 0 and not e.alone for e in watcher.rounds)


class Agreeing(HalfRight):
    """Reports how far its trainer lies from its sampler."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self._mean = mean

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport:
        agreement = SamplerAgreement(80, self._mean, 2 * self._mean, 0.0, Rounding(mean=1e-3, clipped=0.02))
        return replace(super().update(batch, spec), agreement=agreement)


@pytest.mark.parametrize("mean", [1e-6, 0.3])
def test_a_round_tells_how_far_sampler_and_trainer_lie_apart(tmp_path: Path, mean: float) -> None:
    node = node_of(tmp_path, ALICE, MemoryHub(SWARM, lambda: 1000.0).join(ALICE), external=0)
    node.policy = Agreeing(mean)
    event = play_round(node)
    assert (event.logprob_mean, event.logprob_largest, event.fresh_clipped) == (mean, 2 * mean, 0.0)
    if mean < 1e-3:
        assert event.disagreement is None
    else:
        assert event.disagreement is not None
        assert "80 fresh tokens 0.3 nats off" in event.disagreement
        assert "generation.arithmetic = 'float32'" in event.disagreement
