"""The loop with a scripted policy over the in-memory transport: what is trained on, saved and counted."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.baseline.equal_compute import cpu_seconds
from node.config.schema import Config, parse_config
from node.config.sections.sampler import SamplerConfig
from node.runtime.loop import MAX_DIVERGED_ROUNDS, Node, filter_advantages, play_round, resume, run, save
from node.runtime.round_events import PHASES
from node.storage.checkpoint import Checkpoints
from node.storage.events import EvaluationEvent, History, LifeEvent, RoundEvent, Store
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import RolloutQuery
from policies.policy import (
    DivergedError,
    RolloutRequest,
    SamplerAgreement,
    Stop,
    UpdateReport,
    UpdateSpec,
    never,
)
from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from policies.strategies import build_strategy
from policies.strategies.open_groups import UNBEGUN, OpenGroup, OpenGroups
from policies.tasks import build_task
from policies.tasks.curriculum import Curriculum
from policies.tasks.task import TaskSpec
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.gossip.service import Gossip, GossipSettings
from swarm.process import ended_children_cpu_seconds
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.base import Transport, TransportStatus
from swarm.transport.in_memory import MemoryHub
from swarm.transport.silo import SiloTransport
from swarm.wire.identity import Identity

SWARM = "pond"
TASK = build_task(TaskSpec("sort"))
ALICE, BOB = (Identity(bytes([number]) * 32).peer_id for number in (1, 2))


class HalfRight:
    """Answers every second rollout rightly; learns nothing but counts, and can be told to diverge."""

    fingerprint = "half-right"

    def __init__(self) -> None:
        self.version = 0
        self.diverging = False
        self.batches: list[Sequence[TrainGroup]] = []

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        met: Counter[Problem] = Counter()
        rollouts = []
        for request in requests:
            rollouts.append(self._rollout(request.problem, met[request.problem] % 2 == 0))
            met[request.problem] += 1
        return rollouts

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        return tuple(text.encode())

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport:
        if self.diverging:
            raise DivergedError("loss nan")
        self.version += 1
        self.batches.append(batch)
        return UpdateReport(0.0, 1.0, 1e-3, 0.5, 0.0, sum(len(t.advantages) for t in batch), 100, 1)

    def save(self, folder: Path) -> None:
        (folder / "version").write_text(str(self.version))

    def load(self, folder: Path) -> None:
        self.version = int((folder / "version").read_text())

    def _rollout(self, problem: Problem, right: bool) -> Rollout:
        text = problem.answer if right else "no idea"
        return Rollout(text, (Segment(self.version, tuple(text.encode()), (-1.0,) * len(text)),), Finish.STOP)


class DivergesOnce(HalfRight):
    def __init__(self, at: int) -> None:
        super().__init__()
        self._at, self._updates = at, 0

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport:
        self._updates += 1
        self.diverging = self._updates == self._at
        return super().update(batch, spec)


class NeverRight(HalfRight):
    def _rollout(self, problem: Problem, right: bool) -> Rollout:
        return super()._rollout(problem, False)


class Quiet:
    """A watcher that remembers and never stops a run."""

    def __init__(self) -> None:
        self.rounds: list[RoundEvent] = []
        self.evaluations: list[EvaluationEvent] = []
        self.on_round: Callable[[RoundEvent], None] = self.rounds.append
        self.on_evaluation: Callable[[EvaluationEvent], None] = self.evaluations.append
        self.notices: list[LifeEvent] = []
        self.on_notice: Callable[[LifeEvent], None] = self.notices.append

    def should_stop(self) -> bool:
        return False


def node_of(folder: Path, peer: str, transport: Transport, external: int = 2, **settings: object) -> Node:
    swarm = {"swarm": {"type": "dht"}} if external else {}
    tree = {
        "tasks": [{"name": "sort"}],
        "strategy": {"rollouts": 4},
        "sampler": {"local": 2, "external": external},
    }
    config: Config = parse_config({"seed": 0} | tree | swarm | settings)
    folder.mkdir(exist_ok=True)
    policy, pool = HalfRight(), ExternalPool()
    clock = lambda: 1000.0  # noqa: E731
    verifier = RolloutVerifier(SWARM, peer, {TASK.name: TASK}, policy.encode, clock)
    wanted = GossipSettings(want=8 if external else 0)
    gossip = Gossip(transport, verifier, pool, clock, np.random.default_rng(0), wanted)
    curriculum = Curriculum([TASK], [1.0], seed=len(peer) + ord(peer[-1]))
    return Node(
        config, {TASK.name: TASK}, curriculum, policy, build_strategy(config.strategy), OpenGroups(0),
        verifier, pool, gossip,
        Store(folder / "events.sqlite", 2**20), Checkpoints(folder / "checkpoints", 2), clock,
    )  # fmt: skip


def pair(folder: Path) -> tuple[Node, Node]:
    hub = MemoryHub(SWARM, lambda: 1000.0)
    return tuple(node_of(folder / peer[-4:], peer, hub.join(peer)) for peer in (ALICE, BOB))  # type: ignore[return-value]


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


class CostlySilo(SiloTransport):
    """A transport that tells CPU seconds of processes of its own."""

    told = reaped = 0.0

    def status(self) -> TransportStatus:
        return replace(super().status(), cpu_seconds=self.told, ended_cpu_seconds=self.reaped)


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


def test_what_a_node_notices_survives_a_resume(tmp_path: Path) -> None:
    alice, bob = pair(tmp_path)
    alice.round = 1
    play_round(alice)
    assert alice.feedback.rates == {TASK.name: 0.5}
    save(alice)
    again = node_of(tmp_path / ALICE[-4:], ALICE, bob.gossip._transport)
    resume(again)
    assert again.feedback == alice.feedback


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


def test_a_silo_shares_nothing_and_misses_nobody(tmp_path: Path) -> None:
    silo = node_of(tmp_path, ALICE, SiloTransport(), external=0, rounds=3, evaluation={"problems": 2})
    watcher = Quiet()
    run(silo, watcher)
    assert [event.round for event in watcher.rounds] == [1, 2, 3]
    assert [event.round for event in watcher.evaluations] == [0, 3]
    assert all(e.published == e.received == e.missing_external == 0 and not e.alone for e in watcher.rounds)


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


class Agreeing(HalfRight):
    """Reports how far its trainer lies from its sampler."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self._mean = mean

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport:
        agreement = SamplerAgreement(80, self._mean, 2 * self._mean, 0.0, rounding=1e-3)
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
