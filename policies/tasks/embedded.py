"""Tasks for the embedded character-level policy: short prompts, short answers, exact verification.

Each family also knows one plausible wrong habit. The warm start mixes it with right answers, so that
reinforcement learning has something to select from the first round on.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from policies.rollout import Problem
from policies.seeds import derive_seed
from policies.tasks.held_out import is_held_out
from policies.tasks.task import HELD_OUT_SEED, TaskError, TaskSpec


@dataclass(frozen=True, slots=True)
class Exercise:
    """One drawn question with its right answer and the answer that the family's wrong habit gives."""

    prompt: str
    answer: str
    habit: str


def exercise_on_its_side(task: str, seed: int, draw: Callable[[Random], Exercise]) -> Exercise:
    """The first exercise drawn by this seed's generator whose prompt is held out where the seed is for evaluation."""
    random = Random(derive_seed(seed, task))
    while True:
        drawn = draw(random)
        if is_held_out(task, drawn.prompt) == (seed >= HELD_OUT_SEED):
            return drawn


@dataclass(frozen=True, slots=True)
class EmbeddedTask:
    """A family of exercises. `draw` is pure in its generator and never lets habit and answer agree."""

    family: str
    version: int
    draw: Callable[[Random], Exercise]

    @property
    def name(self) -> str:
        return f"{self.family}@{self.version}"

    def exercise(self, seed: int) -> Exercise:
        """The exercise behind `problem(seed)`, wrong habit included."""
        return exercise_on_its_side(self.name, seed, self.draw)

    def problem(self, seed: int) -> Problem:
        exercise = self.exercise(seed)
        return Problem(task=self.name, seed=seed, prompt=exercise.prompt, answer=exercise.answer)

    def score(self, problem: Problem, completion: str) -> float:
        """1.0 when the completion, blanks at its ends aside, is the answer; else 0.0."""
        return float(completion.strip() == problem.answer)


# Eight letters, three characters a word: what 0.6 M parameters learn within a short warm start. With two or three
# characters a word the same 120 steps over six tasks end at a loss of 0.46 in place of 0.38.
_LETTERS = "abcdefgh"
_LENGTH = 3
_DIGITS = 5
_BITS = {"0": "00", "1": "01", "2": "10", "3": "11"}


def _sort(random: Random) -> Exercise:
    """Ascending digits; the habit is descending."""
    digits = random.sample(string.digits, _LENGTH)
    ascending = "".join(sorted(digits))
    return Exercise(f"sort {''.join(digits)}", ascending, ascending[::-1])


def _reverse(random: Random) -> Exercise:
    """Letters backwards; the habit is to copy them unchanged."""
    word = "".join(random.sample(_LETTERS, _LENGTH))
    return Exercise(f"reverse {word}", word[::-1], word)


def _maximum(random: Random) -> Exercise:
    """The largest of some digits; the habit is to take the last one.

    Not the smallest: a policy that learns to pick large over small for this prompt does so for `sort` too.
    """
    digits = random.sample(string.digits, random.randint(2, 5))
    shown = digits if digits[-1] != max(digits) else digits[::-1]
    return Exercise(f"max {''.join(shown)}", max(shown), shown[-1])


def _shift(random: Random) -> Exercise:
    """Each letter's successor; the habit is its predecessor."""
    word = random.choices(_LETTERS[1:-1], k=_LENGTH)
    after, before = ("".join(chr(ord(letter) + step) for letter in word) for step in (1, -1))
    return Exercise(f"shift {''.join(word)}", after, before)


def _add(random: Random) -> Exercise:
    """A sum whose units always carry; the habit is to drop the carry."""
    tens, units = random.randint(1, 8), random.randint(1, 9)
    addend = random.randint(10 - units, 9)
    total = 10 * tens + units + addend
    return Exercise(f"add {tens}{units}+{addend}", str(total), str(total - 10))


def _binary(random: Random) -> Exercise:
    """A number from base four into base two, digit by digit; the habit is to write each digit's bits lowest first."""
    while True:
        number = "".join(random.choices([*_BITS], k=_DIGITS))
        bits = [_BITS[digit] for digit in number]
        answer, habit = "".join(bits), "".join(pair[::-1] for pair in bits)
        if answer != habit:
            return Exercise(f"binary {number}", answer, habit)


# A changed draw needs a new version: peers rebuild problems from (name, seed).
_DRAWS: Mapping[str, Callable[[Random], Exercise]] = {
    "sort": _sort,
    "reverse": _reverse,
    "maximum": _maximum,
    "shift": _shift,
    "add": _add,
    "binary": _binary,
}

# Answers of these are compared as a whole.
FAMILIES: Mapping[str, EmbeddedTask] = MappingProxyType(
    {family: EmbeddedTask(family, 2, draw) for family, draw in _DRAWS.items()}
)


def build_embedded_task(spec: TaskSpec) -> EmbeddedTask:
    """The family that `spec` names. Raises TaskError when it has parameters: no family takes any."""
    refuse_parameters(spec)
    return FAMILIES[spec.name]


def refuse_parameters(spec: TaskSpec) -> None:
    """Raises TaskError where a task without parameters was given some."""
    if spec.params:
        raise TaskError(f"task {spec.name!r} takes no parameters, got {', '.join(sorted(spec.params))}")
