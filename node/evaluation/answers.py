"""Answers of one policy to reserved problems, batch by batch: what is there counts, wherever it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from policies.policy import Policy, RolloutRequest
from policies.rollout import Finish, Group, Problem
from policies.seeds import derive_seed
from policies.strategies.difficulty import RIGHT_REWARD, measure
from policies.tasks.task import HELD_OUT_SEED, Task, TaskError, score_group
from policies.unjudged import reasons_heard

# Beyond what a run's own evaluations ask: `checkpoint.keep_best` chooses by those, and so they flatter its choice.
FIRST_SEED = HELD_OUT_SEED + 2**20
TRIES = 4  # seeds for each problem that is wanted: some give none
AT_ONCE = 128  # rollouts of a batch

Progress = Callable[[int, int], None]  # problems answered, problems in all


@dataclass(slots=True)
class Answers:
    """Groups of one policy, by problem; `complete` unless it was stopped. Every answer in them has a verdict."""

    groups: dict[tuple[str, int], Group] = field(default_factory=dict)  # by task and seed
    complete: bool = False
    unjudged: int = 0  # problems left out, as a verifier came to no end with an answer
    why_unjudged: str = ""  # the first reason for it

    @property
    def cut_share(self) -> float:
        """Of all answers, those that reached the most tokens before they ended."""
        finishes = [rollout.finish for group in self.groups.values() for rollout in group.rollouts]
        return finishes.count(Finish.LENGTH) / max(1, len(finishes))

    def of(self, task: str) -> dict[int, Group]:
        """A task's groups by seed."""
        return {seed: group for (name, seed), group in self.groups.items() if name == task}


def right(group: Group) -> int:
    """How many of a group's rollouts are right."""
    return measure(group.rewards, RIGHT_REWARD).correct


def reserved(task: Task, count: int) -> list[Problem]:
    """The first `count` problems that no run trains on or chooses its best checkpoint by. Raises TaskError."""
    found: list[Problem] = []
    for seed in range(FIRST_SEED, FIRST_SEED + TRIES * count):
        try:
            found.append(task.problem(seed))
        except TaskError:
            continue
        if len(found) == count:
            return found
    raise TaskError(f"{task.name} made only {len(found)} of {count} problems: ask for fewer with --problems")


def interleaved(by_task: Sequence[Sequence[Problem]]) -> list[Problem]:
    """One problem of each task in turn, so that whatever is answered first is of all of them."""
    return [problem for row in zip_longest(*by_task) for problem in row if problem is not None]


def answer(
    policy: Policy,
    problems: Sequence[Problem],
    tasks: Mapping[str, Task],
    rollouts: int,
    seed: int,
    progress: Progress,
) -> Answers:
    """`rollouts` scored rollouts of each problem, sampled as held-out problems are; a signal ends it early."""
    answers = Answers()
    try:
        for batch in _batches(problems, max(1, AT_ONCE // rollouts)):
            requests = [
                RolloutRequest(problem, derive_seed(seed, problem.task, problem.seed, number))
                for problem in batch
                for number in range(rollouts)
            ]
            sampled = iter(policy.sample(requests, held_out=True))
            for problem in batch:
                group = Group(problem, tuple(next(sampled) for _ in range(rollouts)))
                with reasons_heard() as heard:
                    scored = score_group(tasks[problem.task], group)
                if scored.judged is scored:
                    answers.groups[problem.task, problem.seed] = scored
                else:
                    answers.unjudged += 1
                    answers.why_unjudged = answers.why_unjudged or "".join(heard[:1])
            progress(len(answers.groups) + answers.unjudged, len(problems))
    except KeyboardInterrupt:
        return answers
    answers.complete = True
    return answers


def _batches(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    return (problems[start : start + size] for start in range(0, len(problems), size))
