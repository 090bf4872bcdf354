"""Tasks for the embedded character-level policy: short prompts and answers, and the same in words for others.

Both wordings are of one problem with one answer, so that nodes with either kind of policy share one swarm. Each family
also knows one plausible wrong habit. The warm start mixes it with right answers, so that reinforcement learning has
something to select from the first round on.
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
from policies.tasks.verifiers.answer import ends_with_text

LONGEST_SCORED = 4096  # characters of a completion's end


@dataclass(frozen=True, slots=True)
class Exercise:
    """One drawn question with its right answer and the answer that the family's wrong habit gives."""

    prompt: str
    answer: str
    habit: str
    words: str = ""  # what is asked, for a policy that does not know the prompt's code


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
    version: int  # raised when a problem or a reward changes
    draw: Callable[[Random], Exercise]

    @property
    def name(self) -> str:
        return f"{self.family}@{self.version}"

    def exercise(self, seed: int) -> Exercise:
        """The exercise behind `problem(seed)`, wrong habit included."""
        return exercise_on_its_side(self.name, seed, self.draw)

    def problem(self, seed: int) -> Problem:
        exercise = self.exercise(seed)
        return Problem(self.name, seed, exercise.prompt, exercise.answer, exercise.words)

    def score(self, problem: Problem, completion: str) -> float:
        """1.0 when the completion is the answer, or ends with it as other tasks' may; else 0.0."""
        return float(
            completion.strip() == problem.answer
            or ends_with_text(completion[-LONGEST_SCORED:], problem.answer)
        )


# Eight letters, three or four characters a word: over a thousand prompts a family, and what 0.6 M parameters still
# learn within a short warm start. Eighteen letters, or four characters always, they did not learn in 160 steps.
_LETTERS = "abcdefgh"
_LENGTHS = (3, 4)
_BASE_FOUR_LENGTHS = (4, 5)
_BITS = {"0": "00", "1": "01", "2": "10", "3": "11"}


def _sort(random: Random) -> Exercise:
    """Ascending digits; the habit is descending."""
    digits = random.sample(string.digits, random.choice(_LENGTHS))
    ascending = "".join(sorted(digits))
    shown = "".join(digits)
    words = (
        f"Sort the digits of {shown} from the smallest to the largest. Answer with the sorted digits alone."
    )
    return Exercise(f"sort {shown}", ascending, ascending[::-1], words)


def _reverse(random: Random) -> Exercise:
    """Letters backwards; the habit is to copy them unchanged."""
    word = "".join(random.sample(_LETTERS, random.choice(_LENGTHS)))
    words = f"Write the letters {word} in reverse order. Answer with the letters alone."
    return Exercise(f"reverse {word}", word[::-1], word, words)


def _maximum(random: Random) -> Exercise:
    """The largest of some digits; the habit is to take the last one.

    Not the smallest: a policy that learns to pick large over small for this prompt does so for `sort` too.
    """
    digits = random.sample(string.digits, random.randint(2, 5))
    shown = digits if digits[-1] != max(digits) else digits[::-1]
    words = f"Which is the largest digit in {''.join(shown)}? Answer with the digit alone."
    return Exercise(f"max {''.join(shown)}", max(shown), shown[-1], words)


def _shift(random: Random) -> Exercise:
    """Each letter's successor; the habit is its predecessor."""
    word = random.choices(_LETTERS[1:-1], k=random.choice(_LENGTHS))
    after, before = ("".join(chr(ord(letter) + step) for letter in word) for step in (1, -1))
    shown = "".join(word)
    words = (
        f"Replace each letter of {shown} by the one after it in the alphabet. Answer with the letters alone."
    )
    return Exercise(f"shift {shown}", after, before, words)


def _add(random: Random) -> Exercise:
    """A sum of two digits whose units always carry, the addend of one digit or two; the habit is to drop the carry."""
    tens, units = random.randint(1, 8), random.randint(1, 9)
    more_tens = random.choice((0, random.randint(0, 8 - tens)))
    addend = 10 * more_tens + random.randint(10 - units, 9)
    total = 10 * tens + units + addend
    words = f"What is {tens}{units} + {addend}? Answer with the number alone."
    return Exercise(f"add {tens}{units}+{addend}", str(total), str(total - 10), words)


def _binary(random: Random) -> Exercise:
    """A number from base four into base two, digit by digit; the habit is to write each digit's bits lowest first."""
    while True:
        number = "".join(random.choices([*_BITS], k=random.choice(_BASE_FOUR_LENGTHS)))
        bits = [_BITS[digit] for digit in number]
        answer, habit = "".join(bits), "".join(pair[::-1] for pair in bits)
        if answer != habit:
            words = f"Write {number}, a number in base four, in base two: two digits for each. Answer with them alone."
            return Exercise(f"binary {number}", answer, habit, words)


_DRAWS: Mapping[str, Callable[[Random], Exercise]] = {
    "sort": _sort,
    "reverse": _reverse,
    "maximum": _maximum,
    "shift": _shift,
    "add": _add,
    "binary": _binary,
}

# A changed draw or reward needs a new version: peers rebuild problems from (name, seed).
VERSION = 3
FAMILIES: Mapping[str, EmbeddedTask] = MappingProxyType(
    {family: EmbeddedTask(family, VERSION, draw) for family, draw in _DRAWS.items()}
)


def build_embedded_task(spec: TaskSpec) -> EmbeddedTask:
    """The family that `spec` names. Raises TaskError when it has parameters: no family takes any."""
    refuse_parameters(spec)
    return FAMILIES[spec.name]


def refuse_parameters(spec: TaskSpec) -> None:
    """Raises TaskError where a task without parameters was given some."""
    if spec.params:
        raise TaskError(f"task {spec.name!r} takes no parameters, got {', '.join(sorted(spec.params))}")
