"""Cases of `murmur bench step`: one prompt and rollouts of equal length, random tokens of a seed."""

from __future__ import annotations

from dataclasses import dataclass

from policies.seeds import derive_generator
from policies.text.batching import Row


@dataclass(frozen=True, slots=True)
class StepCase:
    """Rollouts of one prompt, all as long, so that both sides can be given the same micro-batches."""

    name: str
    prompt_tokens: int
    new_tokens: int
    rollouts: int
    batch_rows: int  # rollouts in a micro-batch
    floor: float = 0.0  # what the ratio of times must reach


# Micro-batches of about 1,400 tokens for TRL, which with two trainers of SmolLM2 in memory come to 9 GB.
CASES = (
    StepCase("prompt57", prompt_tokens=57, new_tokens=128, rollouts=16, batch_rows=8, floor=1.5),
    StepCase("prompt256", prompt_tokens=256, new_tokens=64, rollouts=16, batch_rows=4, floor=2.5),
)


def draw_rows(case: StepCase, seed: int, vocabulary: int) -> list[Row]:
    """Advantages of both signs, no behaviour log-probs: every ratio is 1 and no token is clipped."""
    generator = derive_generator(seed, "bench step", case.name)
    prompt = tuple(map(int, generator.integers(vocabulary, size=case.prompt_tokens)))
    completions = generator.integers(vocabulary, size=(case.rollouts, case.new_tokens))
    advantages = generator.normal(size=case.rollouts)
    return [
        Row(prompt, tuple(map(int, tokens)), float(advantage), None)
        for tokens, advantage in zip(completions, advantages, strict=True)
    ]
