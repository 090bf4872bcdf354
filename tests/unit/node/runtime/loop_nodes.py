"""Small nodes for tests of the loop: a policy that is half right, and nodes that share by memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fakes import ALICE, BOB

from node.config.schema import Config, parse_config
from node.runtime.loop import Node
from node.storage.checkpoint import Checkpoints
from node.storage.events import EvaluationEvent, LifeEvent, RoundEvent, Store
from node.storage.trust_lists import TrustFile
from policies.policy import (
    DivergedError,
    RolloutRequest,
    Stop,
    UpdateReport,
    UpdateSpec,
    never,
)
from policies.rollout import Finish, Problem, Rollout, Segment, TrainGroup
from policies.strategies import build_strategy
from policies.strategies.open_groups import OpenGroups
from policies.tasks import build_task
from policies.tasks.curriculum import Curriculum
from policies.tasks.task import TaskSpec
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.gossip.service import Gossip
from swarm.gossip.settings import GossipSettings
from swarm.sampling.external_pool import ExternalPool
from swarm.transport.base import Transport
from swarm.transport.in_memory import MemoryHub

SWARM = "pond"
TASK = build_task(TaskSpec("sort"))


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
        TrustFile(folder / "trust.json"),
    )  # fmt: skip


def pair(folder: Path) -> tuple[Node, Node]:
    hub = MemoryHub(SWARM, lambda: 1000.0)
    return tuple(node_of(folder / peer[-4:], peer, hub.join(peer)) for peer in (ALICE, BOB))  # type: ignore[return-value]
