"""The prompts that a call has computed, and their rows in the table of keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from policies.text.engine.decoder import Decoder
from policies.text.engine.memory_plan import passes


@dataclass(slots=True, eq=False)
class Prompt:
    """One distinct prompt of a call."""

    ids: tuple[int, ...]
    pending: int = 0  # requests that have not finished
    running: int = 0  # of them, in flight
    place: int | None = None  # row of the prompts' table; None: not computed
    logits: torch.Tensor | None = None  # (V,) after its last token: the first token's distribution


class PromptTable:
    """The computed prompts of one call. Keeps the places in use at the table's front."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._placed: list[Prompt] = []

    @property
    def lengths(self) -> list[int]:
        """Tokens of the prompt at every place."""
        return [len(prompt.ids) for prompt in self._placed]

    def put(self, wanted: Iterable[Prompt]) -> int:
        """Computes those of `wanted` that are not there; returns how many tokens that were.

        Prompts of one length pass together, without padding. Where the table is full, a prompt without a
        sequence in flight makes room; there is one, since no more prompts than sequences are in flight.
        """
        missing = list({id(prompt): prompt for prompt in wanted if prompt.place is None}.values())
        spared = set(map(id, wanted))
        for _ in range(len(self._placed) + len(missing) - self._decoder.prompts.rows):
            self.remove(next(p for p in self._placed if p.running == 0 and id(p) not in spared))
        missing.sort(key=lambda prompt: len(prompt.ids))
        for part in passes([len(prompt.ids) for prompt in missing], padding=0.0):
            self._compute(missing[part])
        return sum(len(prompt.ids) for prompt in missing)

    def remove(self, prompt: Prompt) -> None:
        """Takes one away; the last one moves into its place."""
        assert prompt.place is not None
        last = self._placed.pop()
        if last is not prompt:
            assert last.place is not None
            self._decoder.prompts.move(last.place, prompt.place, len(last.ids))
            self._placed[prompt.place] = last
            last.place = prompt.place
        prompt.place = prompt.logits = None

    def _compute(self, prompts: Sequence[Prompt]) -> None:
        first = len(self._placed)
        logits = self._decoder.load_prompts([prompt.ids for prompt in prompts], first)
        for offset, prompt in enumerate(prompts):
            prompt.place, prompt.logits = first + offset, logits[offset]
            self._placed.append(prompt)
