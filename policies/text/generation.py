"""Samples completions with transformers' own `generate`, and keeps the log-prob of every sampled token."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from policies.text.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion, before it is decoded."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool  # the last token is an end-of-sequence token


class _Tempered(LogitsProcessor):
    """Divides the logits by the temperature and remembers the log-prob of every token that is then sampled.

    Keeps one (rows, vocabulary) buffer: the choice made from it is the last input id of the next call.
    """

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self._offered: torch.Tensor | None = None
        self._chosen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._offered is not None:
            self._take(input_ids)
        tempered = scores / self._temperature
        self._offered = torch.log_softmax(tempered, dim=-1)
        return tempered

    def logprobs(self, sampled: torch.Tensor) -> torch.Tensor:
        """The log-probs of all `sampled` tokens, (rows, tokens), once generation has ended."""
        if len(self._chosen) < sampled.shape[1]:  # on MPS `generate` takes one step more, and undoes it
            self._take(sampled)
        return torch.stack(self._chosen, dim=1)

    def _take(self, input_ids: torch.Tensor) -> None:
        assert self._offered is not None
        self._chosen.append(self._offered.gather(1, input_ids[:, -1:]).squeeze(1))


class Sampler:
    """Samples completions of encoded prompts from one model whose weights may change between calls."""

    def __init__(
        self, model: PreTrainedModel, pad_id: int, eos_ids: Collection[int], settings: GenerationSettings
    ):
        self._model = model
        self._pad_id = pad_id
        self._eos_ids = frozenset(eos_ids)
        self._settings = settings
        self._config = GenerationConfig(
            max_new_tokens=settings.max_new_tokens,
            do_sample=True,
            temperature=1.0,  # `_Tempered` does it
            top_k=0,
            top_p=1.0,
            use_cache=True,
            pad_token_id=pad_id,
            eos_token_id=sorted(eos_ids),
        )

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[int]]) -> list[Completion]:
        """One completion a prompt, in order. Draws from torch's current generator."""
        self._model.eval()
        rows = self._settings.batch_rows
        batches = [prompts[start : start + rows] for start in range(0, len(prompts), rows)]
        with _only_our_settings(self._model):
            return [completion for batch in batches for completion in self._sample_batch(batch)]

    def _sample_batch(self, prompts: Sequence[Sequence[int]]) -> list[Completion]:
        width = max(len(prompt) for prompt in prompts)
        padded = [[self._pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        device = self._model.device
        tempered = _Tempered(self._settings.temperature)
        sequences = self._model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=self._config,
            logits_processor=LogitsProcessorList([tempered]),
        )
        sampled = sequences[:, width:]
        logprobs = tempered.logprobs(sampled).tolist()
        return [self._cut(ids, values) for ids, values in zip(sampled.tolist(), logprobs, strict=True)]

    def _cut(self, ids: list[int], logprobs: list[float]) -> Completion:
        """Drops what `generate` pads behind the first end-of-sequence token."""
        end = next((i for i, token in enumerate(ids) if token in self._eos_ids), None)
        length = len(ids) if end is None else end + 1
        return Completion(tuple(ids[:length]), tuple(logprobs[:length]), stopped=end is not None)


@contextmanager
def _only_our_settings(model: PreTrainedModel) -> Iterator[None]:
    """Sets the model's defaults aside: `generate` would take its top-k or repetition penalty from them."""
    shipped = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = shipped
