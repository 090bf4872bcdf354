"""Sampling by transformers' own `generate`, for models whose cache or attention the engine cannot share.

Draws, log-probs, stops and partials are the engine's; but every rollout computes its own prompt, and one that has
finished is computed on until the last of its wave has. Where padding a model's rows changes what it computes, waves
are of one rollout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from policies.policy import Stop
from policies.rollout import Finish
from policies.text.engine.batch import Batch, SequenceState
from policies.text.engine.memory_plan import halved, release

ANY_TOKEN = 0  # what is written behind a finished rollout; nobody reads it


class GenerateFallback:
    """Runs a call's requests in waves of at most `slots` sequences, or of one where `padded` is False."""

    def __init__(self, model: PreTrainedModel, *, padded: bool = True) -> None:
        self._model = model
        self.padded = padded

    def run(self, batch: Batch, slots: int, stop: Stop) -> None:
        slots = slots if self.padded else 1
        with in_evaluation(self._model):
            while going := [sequence for sequence in batch.sequences if sequence.finish is Finish.UNFINISHED]:
                wave = _Wave(batch, going[:slots], stop)
                try:
                    self._generate(wave)
                except RuntimeError as error:
                    slots = halved(slots, error)
                    release(self._model.device)
                if wave.stopped:
                    return

    def _generate(self, wave: _Wave) -> None:
        past = [[*sequence.request.prompt_ids, *sequence.ids] for sequence in wave.sequences]
        width = max(map(len, past))
        device = self._model.device
        left = max(sequence.request.max_new_tokens - len(sequence.ids) for sequence in wave.sequences)
        self._model.generate(
            # Padded by a token that the model knows: at 0 many have an embedding of zero until it is trained, and
            # a probe would find padding harmless that is not.
            input_ids=torch.tensor([ids[:1] * (width - len(ids)) + ids for ids in past], device=device),
            attention_mask=torch.tensor(
                [[0] * (width - len(ids)) + [1] * len(ids) for ids in past], device=device
            ),
            generation_config=GenerationConfig(
                max_new_tokens=left, do_sample=False, use_cache=True, pad_token_id=ANY_TOKEN
            ),
            logits_processor=LogitsProcessorList([_Choice(wave)]),
            stopping_criteria=StoppingCriteriaList([_Ending(wave)]),
        )


class _Wave:
    """Sequences that are generated together."""

    def __init__(self, batch: Batch, sequences: Sequence[SequenceState], stop: Stop) -> None:
        self.sequences = sequences
        self.stopped = False
        self._batch = batch
        self._stop = stop

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """One token for every sequence that goes on; returns what `generate` is to take, (n,)."""
        going = [
            place for place, sequence in enumerate(self.sequences) if sequence.finish is Finish.UNFINISHED
        ]
        taken = torch.full((len(self.sequences),), ANY_TOKEN, device=logits.device)
        # On MPS `generate` asks once more after the end.
        if going and not self.stopped:
            taken[going] = self._batch.draw([self.sequences[place] for place in going], logits[going])
        return taken

    def ended(self) -> list[bool]:
        """Which sequences are not to go on."""
        self.stopped = self.stopped or self._stop(self._batch.take_finished())
        return [self.stopped or sequence.finish is not Finish.UNFINISHED for sequence in self.sequences]


class _Choice(LogitsProcessor):
    """Draws the token itself and leaves `generate` no other."""

    def __init__(self, wave: _Wave) -> None:
        self._wave = wave

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        taken = self._wave.draw(scores)
        return torch.full_like(scores, float("-inf")).scatter_(1, taken[:, None], 0.0)


class _Ending(StoppingCriteria):
    def __init__(self, wave: _Wave) -> None:
        self._wave = wave

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.tensor(self._wave.ended(), device=input_ids.device)


@contextmanager
def in_evaluation(model: PreTrainedModel) -> Iterator[None]:
    """Sets the model's generation defaults aside too: `generate` would take a repetition penalty from them."""
    shipped, training = model.generation_config, model.training
    model.generation_config = GenerationConfig()
    model.eval()
    try:
        yield
    finally:
        model.generation_config = shipped
        model.train(training)
