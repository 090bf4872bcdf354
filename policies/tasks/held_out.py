"""Held-out prompts: which prompts of a task are for evaluation alone, the same ones on every node.

A prompt's side depends on the task's full name and the prompt, not on a seed: two seeds that make one prompt never
put it on both sides. No setting moves the line: what one node is judged by is trained on by no node of any swarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from policies.rollout import Problem
from policies.seeds import derive_seed
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, TaskError

HELD_OUT = 10  # one prompt in so many
DRAWS = 240  # among so many of a task of many prompts, none is held out for one seed in 10^11
KEPT_SEEDS, KEPT_DRAWS = 4096, 16  # of one task, in memory

Kept = TypeVar("Kept")


class ReservedError(TaskError):
    """What a seed draws first is on the other side."""


@dataclass(slots=True)
class DrawnProblems:
    """The problems that `make` gives a task's seeds, each on its seed's side. A draw is not made twice in a row.

    Thread-safe: a node draws its own problems while peers' groups are examined.
    """

    task: str
    make: Callable[[int, float | None], tuple[str, str]]  # prompt and answer of a draw, within CPU seconds
    # An evaluation asks for the same problems again and again, and finding a reserved one takes some ten draws.
    _canonical: dict[int, int] = field(default_factory=dict)
    _made: dict[int, tuple[str, str]] = field(default_factory=dict)

    def problem(self, seed: int) -> Problem:
        """Raises TaskError, as `seed_on_its_side` does."""
        return Problem(self.task, seed, *self._drawn(self.canonical_seed(seed)))

    def canonical_seed(self, seed: int) -> int:
        """The seed whose first draw is this one's problem. It is its own canonical seed. Raises TaskError."""
        known = self._canonical.get(seed)
        if known is not None:
            return known
        found = seed_on_its_side(self.task, seed, lambda drawn: self._drawn(drawn)[0])
        _keep(self._canonical, seed, found, KEPT_SEEDS)
        return found

    def first_draw(self, seed: int, within: float | None = None) -> Problem:
        """The problem of a canonical seed, at the cost of one draw of so many CPU seconds at most.

        Raises ReservedError for any other seed, TaskTimeoutError beyond the seconds.
        """
        made = self._drawn(seed, within)
        if is_held_out(self.task, made[0]) != (seed >= HELD_OUT_SEED):
            raise ReservedError(f"{self.task}: the first draw of seed {seed} is on the other side")
        return Problem(self.task, seed, *made)

    def _drawn(self, seed: int, within: float | None = None) -> tuple[str, str]:
        made = self._made.get(seed)
        if made is None:
            made = self.make(seed, within)
            _keep(self._made, seed, made, KEPT_DRAWS)
        return made


def _keep(kept: dict[int, Kept], seed: int, value: Kept, most: int) -> None:
    """Another thread may make room at any moment: what was kept may be gone when it is looked for."""
    if len(kept) >= most:
        kept.clear()
    kept[seed] = value


def is_held_out(task: str, prompt: str) -> bool:
    """Whether `prompt` is kept from training, warm starts included. `task`: the full name, with its version."""
    return _hash(task, prompt) % HELD_OUT == 0


def divide(task: str, prompts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Prompts to train on and held-out ones, each in the order of their hash.

    Of two prompts or more each side gets at least one: where the hash leaves a side empty, one at the end stands in.
    """
    hashes = {prompt: _hash(task, prompt) for prompt in prompts}
    order = sorted(hashes, key=hashes.__getitem__)
    held_out = [prompt for prompt in order if hashes[prompt] % HELD_OUT == 0]
    held_out = (held_out or order[:1])[: len(order) - 1]
    chosen = set(held_out)
    return [prompt for prompt in order if prompt not in chosen], held_out


def seed_on_its_side(task: str, seed: int, prompt: Callable[[int], str]) -> int:
    """The seed to draw with, so that what `prompt` gives is held out where `seed` is for evaluation, and else is not.

    It is `seed` itself where that fits, else the first that fits of those derived from it: below TRAIN_SEEDS for
    training seeds, from HELD_OUT_SEED on for others. Raises TaskError when no draw fits: a task of few prompts.
    """
    held_out = seed >= HELD_OUT_SEED
    drawn = seed
    for draw in range(1, DRAWS + 1):
        if is_held_out(task, prompt(drawn)) == held_out:
            return drawn
        drawn = derive_seed(seed, "on its side", task, draw) % TRAIN_SEEDS + HELD_OUT_SEED * held_out
    kept = "kept for evaluation" if held_out else "left to train on"
    raise TaskError(f"{task} has too few different prompts: none of {DRAWS} is {kept}; it has to make more")


def _hash(task: str, prompt: str) -> int:
    return derive_seed(0, "held out", task, prompt)
