"""Held-out prompts: which prompts of a task are for evaluation alone, the same ones on every node.

A prompt's side depends on the task's full name and the prompt, not on a seed: two seeds that make one prompt never
put it on both sides. No setting moves the line: what one node is judged by is trained on by no node of any swarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from policies.seeds import derive_seed
from policies.tasks.task import HELD_OUT_SEED, TRAIN_SEEDS, TaskError

HELD_OUT = 10  # one prompt in so many
DRAWS = 240  # among so many of a task of many prompts, none is held out for one seed in 10^11


def is_held_out(task: str, prompt: str) -> bool:
    """Whether `prompt` is kept from training, warm starts included. `task`: the full name, with its version."""
    return _hash(task, prompt) % HELD_OUT == 0


def divide(task: str, prompts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Prompts to train on and held-out ones, each in the order of their hash.

    Of two prompts or more each side gets at least one: where the hash leaves a side empty, one at the end stands in.
    """
    order = sorted(prompts, key=lambda prompt: _hash(task, prompt))
    held_out = [prompt for prompt in order if is_held_out(task, prompt)]
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
