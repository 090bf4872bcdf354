"""The work of benchmarks of text policies: which rollouts are wanted, how long they get, and APRIL's rounds over them.

Prompts are drawn from the vocabulary and lengths are set by caps: what a token is does not change what it costs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from policies.policy import RolloutRequest, Stop, never
from policies.rollout import Finish, Group, Problem, Rollout, TrainGroup
from policies.seeds import derive_generator, derive_seed
from policies.text.engine import Continuation, Request
from policies.text.engine.weights import Arithmetic

MEDIAN_LENGTH = 36  # of the long-tail law, in tokens
MAX_LENGTH = 256
LENGTH_SIGMA = 0.9  # mean 53: the longest of 16 is then four times the mean
ROLLOUTS_PER_PROMPT = 4  # under the long-tail law
SETTLING_ROUNDS = 24  # a round is 16 to 24 tokens long, so the longest rollouts end within 16 of them

Run: TypeAlias = Callable[[Sequence[Request], Stop], list[Continuation]]


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One way for the engine to play a case."""

    name: str
    slots: int
    in_flight: int | None = None  # APRIL: rollouts begun or carried, of which the case's number is waited for
    floor: float | None = None  # the bar: TRL's seconds a finished rollout over ours, with bfloat16 weights
    arithmetic: Arithmetic = "auto"


@dataclass(frozen=True, slots=True)
class Workload:
    """Rollouts that are wanted at once, and the plans that are measured on them."""

    name: str
    rollouts: int
    per_prompt: int
    prompt_tokens: int
    new_tokens: int | None  # None: by the long-tail law
    plans: tuple[EnginePlan, ...]


CASES = (
    Workload(
        "equal16",
        rollouts=16,
        per_prompt=16,
        prompt_tokens=57,
        new_tokens=32,
        plans=(
            EnginePlan("equal16", slots=16, floor=2.0),
            EnginePlan("equal16_bf16", slots=16, arithmetic="bfloat16"),
        ),
    ),
    Workload(
        "longtail",
        rollouts=16,
        per_prompt=ROLLOUTS_PER_PROMPT,
        prompt_tokens=57,
        new_tokens=None,
        plans=(
            EnginePlan("longtail", slots=16, floor=2.5),
            EnginePlan("longtail_april", slots=32, in_flight=32, floor=6.0),
            EnginePlan("longtail_april_3x", slots=48, in_flight=48),
        ),
    ),
    Workload(
        "one_prompt_128",
        rollouts=128,
        per_prompt=128,
        prompt_tokens=57,
        new_tokens=32,
        plans=(EnginePlan("one_prompt_128", slots=128, floor=3.0),),
    ),
    Workload(
        "long_prompt_64",
        rollouts=64,
        per_prompt=64,
        prompt_tokens=512,
        new_tokens=16,
        plans=(EnginePlan("long_prompt_64", slots=64, floor=15.0),),
    ),
)


def draw_requests(case: Workload, seed: int, vocabulary: int) -> list[Request]:
    """The requests of one repeat. Equal seeds give equal requests, whichever plan or contender plays them."""
    return [draw_request(case, seed, number, vocabulary) for number in range(case.rollouts)]


def draw_request(case: Workload, seed: int, number: int, vocabulary: int) -> Request:
    """Request `number` of an endless row; neighbours share a prompt."""
    generator = derive_generator(seed, case.name, "prompt", number // case.per_prompt)
    prompt = generator.integers(0, vocabulary, case.prompt_tokens).tolist()
    length = case.new_tokens or draw_length(seed, number)
    return Request(tuple(prompt), derive_seed(seed, case.name, "rollout", number), length)


def draw_length(seed: int, number: int) -> int:
    """The long-tail law: lognormal, cut at MAX_LENGTH."""
    normal = derive_generator(seed, "length", number).standard_normal()
    return max(1, min(MAX_LENGTH, round(MEDIAN_LENGTH * math.exp(LENGTH_SIGMA * normal))))


@dataclass(frozen=True, slots=True)
class Played:
    """The work that one call did, counted from its requests and what came of them."""

    finished: tuple[int, ...]  # lengths of the rollouts that ended, in tokens from their prompts' ends
    tokens: int  # sampled in this call, those of rollouts that go on among them
    prompt_tokens: int  # of distinct prompts
    steps: int  # passes over the weights that the tokens need at least
    context: int  # keys that the tokens attend to


def play(requests: Sequence[Request], run: Run) -> Played:
    """Runs all `requests` to their ends. Raises RuntimeError when a rollout comes back short."""
    continuations = run(requests, never)
    if any(_is_partial(*pair) for pair in zip(requests, continuations, strict=True)):
        raise RuntimeError("the engine returned an unfinished rollout though nothing stopped it")
    return _played(requests, continuations)


class AprilRounds:
    """APRIL's rounds (arXiv 2509.18521): more rollouts are begun than are wanted, and the unfinished are carried.

    Starts where rounds have settled, played beforehand without a model: the first rounds of a run finish its short
    rollouts only, and their figures flatter.
    """

    def __init__(self, case: Workload, plan: EnginePlan, seed: int, vocabulary: int) -> None:
        self._case = case
        self._in_flight = plan.in_flight or case.rollouts
        self._seed = seed
        self._vocabulary = vocabulary
        self.begun = 0
        self.finished = 0
        self.carried: list[Request] = []
        for _ in range(SETTLING_ROUNDS):
            self.play(count_tokens(plan.slots))

    def play(self, run: Run) -> Played:
        """One round: the carried first, fresh ones up to the number in flight, until enough have finished.

        Raises RuntimeError when a rollout is lost or shortened.
        """
        requests = [*self.carried, *self._fresh(self._in_flight - len(self.carried))]
        continuations = run(requests, stop_after(self._case.rollouts))
        pairs = list(zip(requests, continuations, strict=True))
        self.carried = [_carry_on(*pair) for pair in pairs if _is_partial(*pair)]
        played = _played(requests, continuations)
        self.finished += len(played.finished)
        if self.begun != self.finished + len(self.carried):
            raise RuntimeError(
                f"{self.begun} rollouts begun, {self.finished} finished, {len(self.carried)} carried"
            )
        return played

    def _fresh(self, count: int) -> list[Request]:
        first, self.begun = self.begun, self.begun + count
        return [
            draw_request(self._case, self._seed, number, self._vocabulary)
            for number in range(first, self.begun)
        ]


def stop_after(target: int) -> Stop:
    """A `Stop` that ends the call once `target` requests have finished."""
    missing = target

    def stop(finished: Sequence[int]) -> bool:
        nonlocal missing
        missing -= len(finished)
        return missing <= 0

    return stop


def count_tokens(slots: int) -> Run:
    """An engine without a model: every row in a slot gets one token a step, always token 0."""

    def run(requests: Sequence[Request], stop: Stop) -> list[Continuation]:
        missing = [request.max_new_tokens - len(request.begun_ids) for request in requests]
        sampled = [0] * len(requests)
        waiting = deque(range(len(requests)))
        active: list[int] = []
        while waiting or active:
            while waiting and len(active) < slots:
                active.append(waiting.popleft())
            for row in active:
                sampled[row] += 1
            finished = [row for row in active if sampled[row] == missing[row]]
            active = [row for row in active if sampled[row] < missing[row]]
            if stop(finished):
                break
        ends = [
            Finish.LENGTH if count == all_ else Finish.UNFINISHED
            for count, all_ in zip(sampled, missing, strict=True)
        ]
        return [
            Continuation((0,) * count, (0.0,) * count, end) for count, end in zip(sampled, ends, strict=True)
        ]

    return run


def context_tokens(start: int, count: int) -> int:
    """Keys that `count` tokens behind `start` others attend to, each to all before it."""
    return count * start + count * (count - 1) // 2


def _is_partial(request: Request, continuation: Continuation) -> bool:
    """Raises RuntimeError when what the engine says of the end does not fit the length."""
    length = len(request.begun_ids) + len(continuation.token_ids)
    partial = continuation.finish is Finish.UNFINISHED
    if partial != (length < request.max_new_tokens) or length > request.max_new_tokens:
        raise RuntimeError(
            f"a rollout of {length} tokens, capped at {request.max_new_tokens}, came back as "
            f"{continuation.finish}"
        )
    return partial


def _carry_on(request: Request, continuation: Continuation) -> Request:
    begun = request.begun_ids + continuation.token_ids
    return Request(request.prompt_ids, request.key, request.max_new_tokens, begun)


def _played(requests: Sequence[Request], continuations: Sequence[Continuation]) -> Played:
    counts = [len(continuation.token_ids) for continuation in continuations]
    starts = [len(request.prompt_ids) + len(request.begun_ids) for request in requests]
    return Played(
        finished=tuple(
            request.max_new_tokens
            for request, continuation in zip(requests, continuations, strict=True)
            if continuation.finish is not Finish.UNFINISHED
        ),
        tokens=sum(counts),
        prompt_tokens=sum(len(prompt) for prompt in {request.prompt_ids for request in requests}),
        steps=max(counts),
        context=sum(context_tokens(start, count) for start, count in zip(starts, counts, strict=True)),
    )


def requests_for(problems: Sequence[Problem], group: int) -> list[RolloutRequest]:
    """`group` rollouts of each problem, the problems in turn."""
    return [RolloutRequest(problem, key) for key, problem in enumerate([*problems] * group)]


def taught_at_random(problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> list[TrainGroup]:
    """What `requests_for` came to, as groups whose advantages are made up: all of them train."""
    groups = [Group(problem, tuple(rollouts[at :: len(problems)])) for at, problem in enumerate(problems)]
    return [
        TrainGroup(group, tuple((-1.0) ** index for index in range(len(group.rollouts)))) for group in groups
    ]
