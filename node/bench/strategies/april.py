"""`murmur bench april`: APRIL against waiting for all, by the real driver and engine on a real small model.

Lengths follow a long-tail law and end-of-sequence is off, so that both sides do work of the same law. Rounds are
compared where they have settled: the driver plays the first ones without a model.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence

from node.bench.kit.machine import best_device
from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.bench.kit.sampling_rate import PROMPT_TOKENS, SMOLLM2
from node.bench.kit.workloads import Run, count_tokens, draw_length
from policies.policy import RolloutRequest, Stop, never
from policies.rollout import Group, Problem, Rollout, Segment
from policies.seeds import derive_generator, derive_seed
from policies.strategies import build_strategy
from policies.strategies.base import StepInfo
from policies.strategies.open_groups import OpenGroups
from policies.strategies.rollout_phase import RolloutPhase, rollout_phase
from policies.strategies.settings import AprilSettings, GrpoSettings
from policies.text.engine import Continuation, Engine, Request
from policies.text.model import load
from policies.text.settings import ModelSettings

WANTED, ROLLOUTS = 8, 4  # groups a round, rollouts a group
SLOTS = 64
OVERS = (1.0, 1.5, 2.0)  # 1 waits for all
SETTLING = 24
ROUNDS = 3  # of each side in a repeat, in turns
REPEATS = 3
PAPER = {1.5: "x1.225 on the mean of its models", 2.0: "x1.44 at its best"}
FLOOR = 1.225
MAX_AGE = 8


class LawPolicy:
    """A `RolloutSource`: random prompts, and completions of the lengths that the law draws."""

    def __init__(self, play: Run, vocabulary: int) -> None:
        self.version = 0
        self.play = play  # an engine's `run`, or a stand-in that only counts
        self._vocabulary = vocabulary

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        continuations = self.play([self._request(request) for request in requests], stop)
        return [self._rollout(*pair) for pair in zip(requests, continuations, strict=True)]

    def _rollout(self, request: RolloutRequest, new: Continuation) -> Rollout:
        begun = request.begun.segments if request.begun else ()
        fresh = (Segment(self.version, new.token_ids, new.logprobs),) if new.token_ids else ()
        return Rollout("", (*begun, *fresh), new.finish)

    def _request(self, request: RolloutRequest) -> Request:
        generator = derive_generator(request.problem.seed, "prompt")
        prompt = generator.integers(0, self._vocabulary, PROMPT_TOKENS).tolist()
        begun = request.begun.token_ids if request.begun else ()
        return Request(tuple(prompt), request.key, draw_length(request.key, 0), begun)


class Side:
    """One way of playing rounds, with a pool of its own."""

    def __init__(self, over: float, seed: int, engine: Engine, vocabulary: int) -> None:
        grpo = GrpoSettings(rollouts=ROLLOUTS)
        self.over = over
        self._strategy = build_strategy(
            AprilSettings(inner=grpo, oversample=over, max_age=MAX_AGE) if over > 1 else grpo
        )
        self._pool = OpenGroups(derive_seed(seed, "april"))
        self._policy = LawPolicy(count_tokens(SLOTS), vocabulary)
        self._rounds = 0
        for _ in range(SETTLING):
            self._round()
        self._policy.play = lambda requests, stop: engine.run(requests, stop=stop)
        self.seconds = 0.0
        self.phases: list[RolloutPhase] = []

    @property
    def lost(self) -> int:
        """Groups that were opened and are neither decided on nor in the pool."""
        pool = self._pool
        return pool.opened - pool.trained - pool.dropped.total() - len(pool.groups)

    @property
    def finished(self) -> int:
        """Rollouts of the groups that measured rounds decided on."""
        return sum(len(group.rollouts) for phase in self.phases for group in phase.groups)

    def play_round(self) -> None:
        """One measured round."""
        start = time.perf_counter()
        phase = self._round()
        self.seconds += time.perf_counter() - start
        self.phases.append(phase)

    def _round(self) -> RolloutPhase:
        self._rounds += 1
        self._policy.version += 1  # an update a round, as a node makes
        step = StepInfo(self._rounds, self._policy.version, WANTED)
        return rollout_phase(self._policy, self._strategy, self._pool, self._draw, _score, step)

    def _draw(self, first: int, count: int) -> list[Problem]:
        seeds = [derive_seed(self._rounds, first + place) for place in range(count)]
        return [Problem("law@1", seed, "", "") for seed in seeds]


def run(options: BenchOptions, progress: Progress) -> Report:
    """All sides in turns, round by round. Raises Interrupted with the repeats that are complete on Ctrl-C."""
    progress("loading the model")
    model, _ = load(ModelSettings(path=options.model or SMOLLM2), best_device())
    engine = Engine(model, eos_ids=(), slots=SLOTS)
    repeats: list[list[Side]] = []
    machine = dict(options.machine) | {"model": options.model or SMOLLM2}
    seeds = range(options.repeats or REPEATS)
    try:
        for seed in seeds:
            repeats.append(_repeat(seed, engine, model.config.vocab_size, progress))
    except KeyboardInterrupt:
        raise Interrupted(_report(machine, seeds, repeats)) from None
    return _report(machine, seeds, repeats)


def _repeat(seed: int, engine: Engine, vocabulary: int, progress: Progress) -> list[Side]:
    sides = [Side(over, seed, engine, vocabulary) for over in OVERS]
    for number in range(ROUNDS):
        for side in sides if number % 2 else reversed(sides):
            progress(f"seed {seed}, round {number + 1} of {ROUNDS}: over {side.over}")
            side.play_round()
    return sides


def _report(machine: dict[str, str | int], seeds: Sequence[int], repeats: Sequence[list[Side]]) -> Report:
    rows = [_row(seed, side) for seed, sides in zip(seeds, repeats, strict=False) for side in sides]
    checks = [
        Check.of(
            f"throughput_{over}",
            [_rate(sides[place]) / _rate(sides[0]) for sides in repeats],
            paper=PAPER[over],
            floor=FLOOR,
        )
        for place, over in enumerate(OVERS)
        if over > 1 and repeats
    ]
    lost = [float(side.lost) for sides in repeats for side in sides]
    if lost:
        checks.append(
            Check.of("lost", lost, paper="none; the published code drops surplus groups", floor=0, ceiling=0)
        )
    return Report("april", machine, list(seeds), rows, checks)


def _rate(side: Side) -> float:
    return side.finished / side.seconds


def _row(seed: int, side: Side) -> Row:
    rollouts = [r for phase in side.phases for group in phase.groups for r in group.rollouts]
    tokens = sum(phase.effort.tokens for phase in side.phases)
    rows = sum(phase.effort.row_steps for phase in side.phases)
    ages = sum((phase.ages for phase in side.phases), Counter[int]())
    return {
        "seed": seed,
        "over": side.over,
        "rollouts_per_s": _rate(side),
        "tokens_per_s": tokens / side.seconds,
        "mean_length": statistics.fmean(len(rollout.token_ids) for rollout in rollouts),
        "idle_share": 1 - tokens / rows,
        "stale_share": 1 - ages[0] / ages.total(),
        "oldest": max(ages),
        "lost": side.lost,
    }


def _score(group: Group) -> Group:
    """Rewards that differ within most groups; what a group is worth does not matter here."""
    scored = (rollout.scored(float(len(rollout.token_ids) % 2)) for rollout in group.rollouts)
    return Group(group.problem, tuple(scored), group.origin)
