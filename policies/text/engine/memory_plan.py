"""The number of rollouts that fit side by side into a memory budget, from what a probe of the model measured."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers import PreTrainedModel

from policies.error_words import SHORTAGE, says
from policies.hardware import free_memory
from policies.policy import PolicyError
from policies.text.engine.buckets import bucket, place_bucket, row_bucket

logger = logging.getLogger(__name__)

# Share of the free memory that the engine takes where the owner sets no budget.
FREE_SHARE = 0.5
# A pass over this many tokens at once keeps every core busy; more only takes memory.
PASS_TOKENS = 2048
# Tensors of one token alive at once inside a layer: residual, norm, queries, keys, values, gate, up, product.
LIVE_TENSORS = 8
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a model's rollouts take beyond its weights."""

    token: int  # keys and values of one token in all layers; measured by a probe
    row: int  # one row's logits and their float32 copies
    activation: int  # one token on its way through a layer
    query_heads: int

    @classmethod
    def of(cls, model: PreTrainedModel, token_bytes: int) -> Footprint:
        config = model.config.get_text_config()
        return cls.counted(
            token=token_bytes,
            vocabulary=config.vocab_size,
            widest=widest_of(config),
            heads=getattr(config, "num_attention_heads", 0),
            itemsize=model.dtype.itemsize,
        )

    @classmethod
    def counted(cls, *, token: int, vocabulary: int, widest: int, heads: int, itemsize: int) -> Footprint:
        """`token` in bytes, the others in numbers of `itemsize` bytes."""
        return cls(
            token=token,
            row=vocabulary * (itemsize + 4 * torch.float32.itemsize),
            activation=LIVE_TENSORS * widest * itemsize,
            query_heads=heads,
        )

    @classmethod
    def guessed(cls, model: PreTrainedModel) -> Footprint:
        """For a model that could not be probed: keys and values as wide as its residual stream in every layer."""
        config = model.config.get_text_config()
        return cls.of(model, 2 * config.num_hidden_layers * config.hidden_size * model.dtype.itemsize)


def widest_of(config: Any) -> int:
    """Numbers of a token inside a layer at its widest.

    An MLP is four times as wide as its model where nothing else is said; Gemma 3n names every layer's own.
    """
    stated = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return int(max(config.hidden_size, *(stated if isinstance(stated, list | tuple) else [stated])))


@dataclass(frozen=True, slots=True)
class Plan:
    """The waves of one call: rows at once, and what they take at most."""

    slots: int
    prompts: int  # distinct prompts at once
    prompt_width: int
    width: int  # completion places a row
    bytes: int


def plan(
    footprint: Footprint,
    prompt_lengths: Sequence[int],
    widths: Sequence[int],
    most: int,
    budget: int,
    *,
    captured: bool = False,
) -> Plan:
    """The most rows, up to `most`, that fit into `budget` bytes.

    `prompt_lengths` are those of the distinct prompts; `widths` the completion places of every request. `captured`:
    tables and passes are padded to the buckets of captured steps, whose memory no prompt's pass can use meanwhile.
    Raises PolicyError with the figures when not even one row fits.
    """
    prompt_width, width = max(prompt_lengths), max(widths)

    def fitted(slots: int) -> Plan:
        prompts = min(len(prompt_lengths), slots)
        rows, kept, places = slots, prompts, prompt_width
        if captured:
            rows, kept, places = row_bucket(slots), bucket(prompts), place_bucket(prompt_width)
        # Scores, their sum with the mask, and the weights: three tensors at once.
        scores = 3 * torch.float32.itemsize * footprint.query_heads * (places + width)
        row = footprint.token * width + footprint.row + footprint.activation + scores
        passing = max(PASS_TOKENS, prompt_width) * footprint.activation + scores * prompt_width
        need = rows * row + kept * places * footprint.token + passing
        return Plan(slots, prompts, prompt_width, width, need)

    slots = min(most, len(widths))
    low, high = 0, slots  # `low` fits, everything over `high` does not
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fitted(middle).bytes <= budget else (low, middle - 1)
    if low == 0:
        raise PolicyError(
            f"one rollout of {width} new tokens after a prompt of {prompt_width} takes "
            f"{fitted(1).bytes / MEGABYTE:.0f} MB beyond the weights, and the budget is "
            f"{budget / MEGABYTE:.0f} MB: raise generation.memory_gb, or lower generation.max_new_tokens"
        )
    return fitted(low)


def passes(lengths: Sequence[int], padding: float = 0.2) -> list[slice]:
    """Splits rows of ascending `lengths` into passes of at most PASS_TOKENS tokens, one row at least.

    Rows are padded to the longest of their pass, by at most `padding` of its length: partials have a long tail,
    and padded to the longest of all they would take several times as long.
    """
    parts: list[slice] = []
    start = 0
    for end in range(1, len(lengths) + 1):
        fits = end < len(lengths) and (end + 1 - start) * lengths[end] <= PASS_TOKENS
        if fits and lengths[end] * (1 - padding) <= lengths[start]:
            continue
        parts.append(slice(start, end))
        start = end
    return parts


def free_bytes(device: torch.device) -> int:
    """Memory on `device` that nobody uses, in bytes."""
    if device.type == "cuda":
        # What torch keeps for itself and has not handed out is free for us.
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + reserved
    return free_memory()


class PeakMeter:
    """Highest memory in use since it was made, above what was in use then, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._process = psutil.Process()
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        self._start = self._now()
        self.peak = 0

    def read(self) -> None:
        self.peak = max(self.peak, self._now() - self._start)

    def _now(self) -> int:
        if self._cuda is not None:
            return int(torch.cuda.max_memory_allocated(self._cuda))
        return int(self._process.memory_info().rss)


def is_shortage(error: RuntimeError) -> bool:
    """Whether it is for a lack of memory: CUDA has an error of its own, torch's CPU allocator a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or says(error, SHORTAGE)


def halved(slots: int, error: RuntimeError) -> int:
    """The rows to go on with after `error`, which is raised again when it is not for a lack of memory.

    Raises PolicyError when there is nothing left to halve.
    """
    if not is_shortage(error):
        raise error
    if slots == 1:
        raise PolicyError(
            f"not even one rollout fits into memory: {' '.join(str(error).split())[:200]}; "
            "lower generation.max_new_tokens or choose a smaller model"
        ) from error
    logger.warning("out of memory with %d rollouts at once: going on with %d", slots, slots // 2)
    return slots // 2


def release(device: torch.device) -> None:
    """Gives freed memory back before a smaller attempt."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
