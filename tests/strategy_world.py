"""A small world for strategies: problems of known difficulty and a policy whose rollouts are of seeded lengths."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from policies.policy import RolloutRequest, Stop, UpdateReport, UpdateSpec, never
from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from policies.seeds import derive_generator, derive_seed
from policies.strategies import build_strategy
from policies.strategies.base import StepInfo, Strategy
from policies.strategies.open_groups import OpenGroups
from policies.strategies.rollout_phase import RolloutPhase, rollout_phase
from policies.strategies.settings import AprilSettings, BrorlSettings, DarsSettings, GrpoSettings

TOKENS = 1000
CAP = 40
RATES = (0.0, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0)  # a problem's chance that a rollout is right, by its seed
RUN_SEED = 7

GRPO = GrpoSettings(rollouts=4)
BRORL = BrorlSettings(rollouts=12, base_batch=32, replace=1.0, keep=6)
EQUAL = DarsSettings(rollouts=4, max_rollouts=16, schedule="equal")
HARDNESS = DarsSettings(rollouts=4, max_rollouts=32, token_budget=900)
INNER = (GRPO, BRORL, EQUAL, HARDNESS)
COMPOSITIONS: dict[str, Strategy] = {
    f"{prefix}{name}": build_strategy(make(inner))
    for name, inner in zip(("grpo", "brorl", "dars-et", "dars-hw"), INNER, strict=True)
    for prefix, make in (
        ("", lambda inner: inner),
        ("april-", lambda inner: AprilSettings(inner=inner, oversample=1.5, max_age=2)),
        ("april2-", lambda inner: AprilSettings(inner=inner, oversample=2.0, max_age=4)),
    )
}


def conserved(pool: OpenGroups) -> bool:
    """Nothing was lost: opened = trained + dropped + still open."""
    return pool.opened == pool.trained + pool.dropped.total() + len(pool.groups)


def rate(problem: Problem) -> float:
    return RATES[problem.seed % len(RATES)]


def draw_of(round_number: int) -> Callable[[int, int], list[Problem]]:
    """Problem i of a round is the same however many are drawn at once."""

    def draw(first: int, count: int) -> list[Problem]:
        seeds = [derive_seed(RUN_SEED, "problem", round_number, first + i) for i in range(count)]
        return [Problem("world@1", seed, f"problem {seed}", "right") for seed in seeds]

    return draw


def score(group: Group) -> Group:
    """The first token decides; whoever scores a rollout twice, or one that is not finished, is found out."""
    scored = []
    for rollout in group.rollouts:
        assert rollout.finish is not Finish.UNFINISHED and rollout.reward is None
        scored.append(rollout.scored(float(rollout.token_ids[0] / TOKENS < rate(group.problem))))
    return replace(group, rollouts=tuple(scored))


@functools.cache
def length_of(problem: Problem, key: int) -> int:
    """Log-normal with a long tail, partly the problem's own; above CAP the rollout is cut."""
    shared = derive_generator(problem.seed, "length").normal()
    own = derive_generator(key, "length").normal()
    return max(1, round(math.exp(2.5 + 0.3 * shared + 0.5 * own)))


def token(key: int, position: int) -> int:
    return (key ^ (position * 0x9E3779B97F4A7C15)) % TOKENS


@dataclass
class SeededPolicy:
    """Samples all requests side by side, a token a step; every draw depends on key and position alone."""

    version: int = 0
    fingerprint: str = "seeded"
    calls: int = 0
    fail_at: int | None = None  # the call, counted from 1, at which the machine goes down

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        assert len({request.key for request in requests}) == len(requests)
        left = [self._target(r) - len(r.begun.token_ids if r.begun else ()) for r in requests]
        assert min(left) > 0, "a finished rollout was asked for again"
        steps = 0
        for steps in range(1, max(left) + 1):
            if stop([i for i, more in enumerate(left) if more == steps]):
                break
        return [self._carry_on(r, min(more, steps)) for r, more in zip(requests, left, strict=True)]

    def _target(self, request: RolloutRequest) -> int:
        return min(length_of(request.problem, request.key), CAP)

    def _carry_on(self, request: RolloutRequest, count: int) -> Rollout:
        begun = request.begun or Rollout("", (), Finish.UNFINISHED)
        start = len(begun.token_ids)
        ids = tuple(token(request.key, position) for position in range(start, start + count))
        segment = Segment(self.version, ids, tuple(-(1 + i % 7 + self.version) / 8 for i in ids))
        done = start + count == self._target(request)
        capped = length_of(request.problem, request.key) > CAP
        finish = (Finish.LENGTH if capped else Finish.STOP) if done else Finish.UNFINISHED
        return Rollout(f"{begun.text}{'x' * count}", (*begun.segments, segment), finish)

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        raise NotImplementedError

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def load(self, folder: Path) -> None:
        raise NotImplementedError


def play_round(
    policy: SeededPolicy, strategy: Strategy, pool: OpenGroups, number: int, wanted: int = 4
) -> RolloutPhase:
    """One round, after which the policy's version is one higher if there was something to train on."""
    step = StepInfo(number, policy.version, wanted)
    phase = rollout_phase(policy, strategy, pool, draw_of(number), score, step)
    policy.version += bool(phase.admitted)
    return phase


def play(strategy: Strategy, rounds: int, wanted: int = 4) -> Iterator[tuple[RolloutPhase, OpenGroups]]:
    """Rounds of one run, each with the pool as it left it."""
    policy, pool = SeededPolicy(), OpenGroups(RUN_SEED)
    for number in range(1, rounds + 1):
        yield play_round(policy, strategy, pool, number, wanted), pool
