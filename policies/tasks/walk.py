"""`walk`: the embedded task whose answers show their working, as a reasoning model's do, before a final answer.

`walk c+2-1+1` asks for the letters that a walk round the ring a to h comes by, and then where it ends:
`e d e #e`. Only what follows the last marker is verified. So the rest can carry what no verifier sees: a phrase,
a wrong step, padding; `murmur arena` measures what becomes of it in a swarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from policies.rollout import Problem
from policies.tasks.embedded import Exercise, exercise_on_its_side, refuse_parameters
from policies.tasks.task import TaskSpec

NAME = "walk"
MARKER = "#"  # what stands before the final answer
RING = "abcdefgh"
MOVES = (-2, -1, 1, 2)
LENGTH = 5  # moves: 8,192 prompts, of which 853 are held out


@dataclass(frozen=True, slots=True)
class WalkTask:
    """Walks of LENGTH moves. Held-out prompts are those that `is_held_out` picks; training seeds never make one."""

    version: int

    @property
    def name(self) -> str:
        return f"{NAME}@{self.version}"

    def exercise(self, seed: int) -> Exercise:
        """The exercise behind `problem(seed)`; the wrong habit is to stop a move too early."""
        return exercise_on_its_side(self.name, seed, _draw)

    def problem(self, seed: int) -> Problem:
        """The final answer is the problem's `answer`; `exercise` has it with its working."""
        exercise = self.exercise(seed)
        answer = final_answer(exercise.answer) or ""
        return Problem(self.name, seed, exercise.prompt, answer, exercise.words)

    def score(self, problem: Problem, completion: str) -> float:
        """1.0 when what follows the last marker, blanks at its ends aside, is where the walk ends; else 0.0."""
        return float(final_answer(completion) == problem.answer)


def _draw(random: Random) -> Exercise:
    start = random.randrange(len(RING))
    moves = random.choices(MOVES, k=LENGTH)
    prompt = f"walk {RING[start]}" + "".join(f"{move:+d}" for move in moves)
    stops = stops_of(prompt)
    words = (
        f"The letters {' '.join(RING)} stand in a ring. Start at {RING[start]} and go "
        f"{' '.join(f'{move:+d}' for move in moves)} letters. Write the letter of each stop, and at the end "
        f"{MARKER} with the letter of the last, such as {MARKER}a."
    )
    return Exercise(prompt, worked(stops), worked(stops[:-1]), words)


def stops_of(prompt: str) -> tuple[str, ...]:
    """The letters that the walk of a prompt comes by, its start not among them."""
    walk = prompt.removeprefix("walk ")
    place, stops = RING.index(walk[0]), []
    for sign, size in zip(walk[1::2], walk[2::2], strict=True):
        place = (place + int(sign + size)) % len(RING)
        stops.append(RING[place])
    return tuple(stops)


def worked(stops: tuple[str, ...]) -> str:
    """The working and the final answer, as the warm start shows them."""
    return f"{' '.join(stops)} {MARKER}{stops[-1]}"


def working(completion: str) -> str:
    """What stands before the last marker, which nothing verifies; all of a completion that has none."""
    before, marker, after = completion.rpartition(MARKER)
    return before if marker else after


def final_answer(completion: str) -> str | None:
    """What follows the last marker; None without one."""
    _, marker, after = completion.rpartition(MARKER)
    return after.strip() if marker else None


WALK = WalkTask(1)


def build_walk_task(spec: TaskSpec) -> WalkTask:
    """Raises TaskError when `spec` has parameters: it takes none."""
    refuse_parameters(spec)
    return WALK
