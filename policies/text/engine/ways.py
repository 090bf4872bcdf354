"""The best way of sampling from a model that is exact: which weights, in which arithmetic, by which steps."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from policies.error_words import brief
from policies.policy import PolicyError
from policies.text.engine import memory_plan, weights
from policies.text.engine.adapters import UnmergeableError, moved_adapters
from policies.text.engine.attention import UnsupportedError
from policies.text.engine.fused_attention import can_fuse
from policies.text.engine.hf_fallback import GenerateFallback
from policies.text.engine.lean_step import LeanModel
from policies.text.engine.packed import can_pack
from policies.text.engine.probe import (
    FOREIGN,
    InexactError,
    probe_copy,
    probe_engine,
    probe_fallback,
    probe_trained,
)
from policies.text.engine.windows import narrowed_windows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineProof:
    """How a working copy was found to be exact, by comparisons that a later start need not repeat."""

    packed: bool  # its weights lie as the processor's products read them
    lean: bool  # it takes the lean decode step
    fused: bool  # it attends by fused kernels
    token_bytes: int  # of one token's keys and values in all layers


@dataclass(frozen=True, slots=True)
class Way:
    """What samples, and why nothing faster does."""

    model: PreTrainedModel  # a working copy, or the trained model itself
    dtype: torch.dtype  # to compute in
    footprint: memory_plan.Footprint
    lean: LeanModel | None = None
    fused: bool = False  # attention by fused kernels
    fallback: GenerateFallback | None = None
    refusal: str | None = None  # why it is `generate`
    widened: str | None = None  # why it is float32 where bfloat16 was wanted


def autocast(model: PreTrainedModel, dtype: torch.dtype) -> AbstractContextManager[None]:
    return torch.autocast(model.device.type, torch.bfloat16, enabled=casts(model, dtype))


def casts(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Only the trained weights themselves may be of another type than the arithmetic."""
    return dtype == torch.bfloat16 and model.dtype == torch.float32


def proven_way(trained: PreTrainedModel, dtype: torch.dtype, proof: EngineProof) -> Way:
    """The one that was compared before; the weights of its copy are still to be taken over."""
    model = weights.working_copy(trained, dtype, packed=proof.packed)
    lean = LeanModel(model) if proof.lean else None
    return Way(model, dtype, memory_plan.Footprint.of(model, proof.token_bytes), lean, proof.fused)


def best_way(trained: PreTrainedModel, dtype: torch.dtype) -> Way:
    """The fastest that is exact, in `dtype` where it can be. Raises PolicyError where none is.

    What bfloat16 is too coarse for is sampled in float32: its products take up to twice the time, and still less than
    `generate`, or than steps on trained weights that are cast anew each time.
    """
    with moved_adapters(trained):
        probe_trained(trained)
        model, inexact = _copy_or_trained(trained, dtype)
        if inexact is not None and (way := _widened(trained, dtype, inexact)) is not None:
            return way
        try:
            return _by_steps(model, trained, dtype)
        except UnsupportedError as error:
            if inexact is None and (way := _widened(trained, dtype, error)) is not None:
                return way
            return _by_generate(model, trained, dtype, error)


def _widened(trained: PreTrainedModel, dtype: torch.dtype, reason: UnsupportedError) -> Way | None:
    """In float32, where `reason` may be bfloat16's rounding. None where that is not exact either."""
    if dtype != torch.bfloat16 or not isinstance(reason, InexactError):
        return None
    name = type(trained).__name__
    model, inexact = _copy_or_trained(trained, torch.float32)
    if inexact is not None or model.dtype != torch.float32:
        return None
    try:
        way = _by_steps(model, trained, torch.float32)
    except UnsupportedError as error:
        logger.info("%s is not sampled in float32 either: %s", name, error)
        return None
    logger.warning("%s is sampled in float32, as bfloat16 is too coarse for it: %s", name, reason)
    return replace(way, widened=str(reason))


def _copy_or_trained(
    trained: PreTrainedModel, dtype: torch.dtype
) -> tuple[PreTrainedModel, InexactError | None]:
    """A working copy where there is room for one and it is exact, else the trained model itself.

    The error is of a copy that computes something else.
    """
    if not weights.fits_copy(trained, dtype):
        logger.info("no room for a working copy of the weights: sampling from the trained ones themselves")
        return trained, None
    inexact = None
    for packed in (True, False) if can_pack(trained.device, dtype) else (False,):
        try:
            return _copy(trained, dtype, packed=packed), None
        except (UnsupportedError, UnmergeableError, *FOREIGN) as error:
            inexact = error if isinstance(error, InexactError) else None
            what = "weights that lie as in the file" if packed else "the trained weights themselves"
            logger.warning("sampling from %s, as a copy is not exact: %s", what, brief(error))
    return trained, inexact


def _copy(trained: PreTrainedModel, dtype: torch.dtype, *, packed: bool) -> PreTrainedModel:
    working = weights.working_copy(trained, dtype, packed=packed)
    weights.refresh(working, trained)
    with narrowed_windows(working, trained):
        probe_copy(working, trained)
    return working


def _by_steps(model: PreTrainedModel, trained: PreTrainedModel, dtype: torch.dtype) -> Way:
    """The lean step where the model has its form and it is exact, else the general one.

    The lean one only of a working copy on a CPU: on a GPU the steps of the general forward pass are captured as
    graphs, with fused attention where that is exact. Raises UnsupportedError where the general one is not exact either.
    """

    def way(token_bytes: int, lean: LeanModel | None = None, *, fused: bool = False) -> Way:
        return Way(model, dtype, memory_plan.Footprint.of(model, token_bytes), lean, fused)

    with narrowed_windows(model, trained), autocast(model, dtype):
        if can_fuse(model.device):
            try:
                return way(probe_engine(model, trained, fused=True), fused=True)
            except UnsupportedError as error:
                logger.info("rollouts attend by products apart: %s", error)
        if model is not trained and model.device.type == "cpu":
            try:
                lean = LeanModel(model)
                return way(probe_engine(model, trained, lean), lean)
            except (UnsupportedError, *FOREIGN) as error:
                logger.info("rollouts take the general decode step: %s", brief(error))
        return way(probe_engine(model, trained))


def _by_generate(
    model: PreTrainedModel, trained: PreTrainedModel, dtype: torch.dtype, refusal: UnsupportedError
) -> Way:
    """`generate` on padded rows, else on one row at a time. Raises PolicyError beyond that."""
    name, refused = type(model).__name__, refusal
    logger.warning("%s is sampled by transformers' generate, which is slower: %s", name, refusal)
    for padded in (True, False):
        fallback = GenerateFallback(model, padded=padded)
        try:
            with narrowed_windows(model, trained), autocast(model, dtype):
                probe_fallback(fallback, model, trained)
        except UnsupportedError as error:
            logger.warning("%s on %s: %s", name, "padded rows" if padded else "one row", error)
            refused = error
            continue
        guessed = memory_plan.Footprint.guessed(model)
        return Way(model, dtype, guessed, fallback=fallback, refusal=str(refusal))
    raise PolicyError(
        f"{name} cannot be sampled as it is trained ({refused}); choose another model, or another adapter"
    )
