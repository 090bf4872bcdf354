"""transformers' own `generate` behind the engine's interface, for models whose cache or attention it cannot share.

The same draws, log-probs, stops and partials; but every rollout computes its own prompt, and a row that has
finished is computed on until the last of its batch has.
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
from policies.text.engine.batch import Call, Row
from policies.text.engine.memory import halved, release

ANY_TOKEN = 0  # what is padded with, or written behind a finished rollout; nobody reads it


class PlainGeneration:
    """Runs a call's requests in batches of at most `slots` rows."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def run(self, call: Call, slots: int, stop: Stop) -> None:
        with _in_evaluation(self._model):
            while going := [row for row in call.rows if row.finish is Finish.UNFINISHED]:
                batch = _Batch(call, going[:slots], stop)
                try:
                    self._generate(batch)
                except RuntimeError as error:
                    slots = halved(slots, error)
                    release(self._model.device)
                if batch.stopped:
                    return

    def _generate(self, batch: _Batch) -> None:
        past = [[*row.request.prompt_ids, *row.ids] for row in batch.rows]
        width = max(map(len, past))
        device = self._model.device
        left = max(row.request.max_new_tokens - len(row.ids) for row in batch.rows)
        self._model.generate(
            input_ids=torch.tensor([[ANY_TOKEN] * (width - len(ids)) + ids for ids in past], device=device),
            attention_mask=torch.tensor(
                [[0] * (width - len(ids)) + [1] * len(ids) for ids in past], device=device
            ),
            generation_config=GenerationConfig(
                max_new_tokens=left, do_sample=False, use_cache=True, pad_token_id=ANY_TOKEN
            ),
            logits_processor=LogitsProcessorList([_Choice(batch)]),
            stopping_criteria=StoppingCriteriaList([_Ending(batch)]),
        )


class _Batch:
    """Rows that are generated together."""

    def __init__(self, call: Call, rows: Sequence[Row], stop: Stop) -> None:
        self.rows = rows
        self.stopped = False
        self._call = call
        self._stop = stop

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """One token for every row that goes on; returns what `generate` is to take, (n,)."""
        going = [place for place, row in enumerate(self.rows) if row.finish is Finish.UNFINISHED]
        taken = torch.full((len(self.rows),), ANY_TOKEN, device=logits.device)
        # On MPS `generate` asks once more after the end.
        if going and not self.stopped:
            taken[going] = self._call.draw([self.rows[place] for place in going], logits[going])
        return taken

    def ended(self) -> list[bool]:
        """Which rows are not to go on."""
        self.stopped = self.stopped or self._stop(self._call.take_finished())
        return [self.stopped or row.finish is not Finish.UNFINISHED for row in self.rows]


class _Choice(LogitsProcessor):
    """Draws the token itself and leaves `generate` no other."""

    def __init__(self, batch: _Batch) -> None:
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        taken = self._batch.draw(scores)
        return torch.full_like(scores, float("-inf")).scatter_(1, taken[:, None], 0.0)


class _Ending(StoppingCriteria):
    def __init__(self, batch: _Batch) -> None:
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.tensor(self._batch.ended(), device=input_ids.device)


@contextmanager
def _in_evaluation(model: PreTrainedModel) -> Iterator[None]:
    """Sets the model's generation defaults aside too: `generate` would take a repetition penalty from them."""
    shipped, training = model.generation_config, model.training
    model.generation_config = GenerationConfig()
    model.eval()
    try:
        yield
    finally:
        model.generation_config = shipped
        model.train(training)
