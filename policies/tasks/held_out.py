"""Held-out prompts: which prompts of a generated task are for evaluation alone, the same ones on every node.

A prompt's side depends on the task's full name and the prompt, not on a seed: two seeds that make one prompt never
put it on both sides.
"""

from __future__ import annotations

from policies.seeds import derive_seed

HELD_OUT = 10  # one prompt in so many


def is_held_out(task: str, prompt: str) -> bool:
    """Whether `prompt` is kept from training, warm starts included. `task`: the full name, with its version."""
    return derive_seed(0, "held out", task, prompt) % HELD_OUT == 0
