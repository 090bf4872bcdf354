"""The memory that a text policy will take, part by part, by arithmetic on its shape and its settings.

Weights, working copy and optimiser stay; sampling and the update take turns, so the most at once is what stays and
the larger of the two. `murmur bench memory` measures the same parts beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from policies.policy import PolicyError
from policies.text.batching import CACHED_TOKEN_COST
from policies.text.engine.memory_plan import Footprint, plan
from policies.text.engine.weights import chosen_arithmetic
from policies.text.head import CACHED_NUMBERS, KEPT_BYTES, REUSED_NUMBERS
from policies.text.memory.shape import Shape
from policies.text.scoring import least_saving
from policies.text.settings import ModelSettings, TextSettings
from policies.text.token_budget import BACKWARD_TENSORS, CUDA_OVERHEAD, OPTIMISER_BYTES, ModelSize

# Bytes of a number in NF4 with double quantisation: half a byte, and scales of blocks of 64 that are themselves packed.
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True, slots=True)
class Load:
    """What a round asks of the memory."""

    prompts: int  # of a round
    group: int  # rollouts of a prompt
    prompt_tokens: int  # of the longest prompt
    new_tokens: int  # cap of a rollout

    @property
    def one(self) -> int:
        """Tokens of a rollout and its prompt."""
        return self.prompt_tokens + self.new_tokens

    @property
    def saving(self) -> int:
        """Tokens that sharing a prompt spares a group."""
        return (self.group - 1) * self.prompt_tokens


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tokens of the largest micro-batch of an update."""

    tokens: int  # that pass through the model
    scored: int  # of them, of completions
    read: int = 0  # places of a shared prompt that its rows read, summed over the rows


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes, by what they are for."""

    weights: int  # of model and adapter
    copy: int  # the working copy that sampling reads; 0: it reads the trained weights themselves
    optimiser: int
    gradients: int
    activations: int  # of one micro-batch
    update_logits: int
    keys_and_values: int
    sampling_logits: int  # and what else a pass of sampling holds at once
    overhead: int
    slots: int  # rollouts in flight
    update_tokens: int  # of a micro-batch
    guessed: bool  # whether activations could not be counted

    @property
    def resident(self) -> int:
        return self.weights + self.copy + self.optimiser + self.overhead

    @property
    def update(self) -> int:
        return self.gradients + self.activations + self.update_logits

    @property
    def sampling(self) -> int:
        return self.keys_and_values + self.sampling_logits

    @property
    def peak(self) -> int:
        return self.resident + max(self.update, self.sampling)


def estimate(
    shape: Shape, model: ModelSettings, settings: TextSettings, load: Load, free: int, *, cuda: bool = False
) -> Estimate:
    """For a device with `free` bytes. `settings` have to be settled: see `TextSettings.settled`."""
    weights = weight_bytes(shape, model)
    trained = shape.trained_numbers
    gradients = trained * shape.trained_itemsize
    optimiser = int(trained * OPTIMISER_BYTES[settings.trainer.optimizer] * shape.trained_itemsize / 4)
    batch = micro_batch_of(shape, settings, load, cuda=cuda)
    activations, logits = _activations(shape, settings, batch), _update_logits(shape, settings, batch.scored)
    overhead = CUDA_OVERHEAD if cuda else 0
    reserved = gradients + optimiser + activations + logits + overhead
    copy = 0 if model.four_bit else _copy(shape, settings, cuda=cuda)
    if weights + copy + reserved > free:
        copy = 0
    sampled = _sampling(
        shape, settings, load, int((free - weights - copy - optimiser - overhead) * 0.5), cuda=cuda
    )
    return Estimate(
        weights=weights,
        copy=copy,
        optimiser=optimiser,
        gradients=gradients,
        activations=activations,
        update_logits=logits,
        keys_and_values=sampled[0],
        sampling_logits=sampled[1],
        overhead=overhead,
        slots=sampled[2],
        update_tokens=batch.tokens,
        guessed=shape.guessed,
    )


def model_size(shape: Shape, model: ModelSettings) -> ModelSize:
    """What of a planned model decides its micro-batches."""
    return ModelSize(
        resident=weight_bytes(shape, model),
        copied=0 if model.four_bit else shape.numbers,
        trained_bytes=shape.trained_numbers * shape.trained_itemsize,
        layers=shape.layers,
        hidden=shape.hidden,
        widest=shape.widest,
    )


def weight_bytes(shape: Shape, model: ModelSettings) -> int:
    """Of model and adapter."""
    if not model.four_bit:
        return shape.numbers * shape.itemsize + shape.adapter_bytes
    plain = (shape.numbers - shape.packable) * shape.itemsize
    return int(plain + shape.packable * FOUR_BIT) + shape.adapter_bytes


def _copy(shape: Shape, settings: TextSettings, *, cuda: bool) -> int:
    size = _sampling_itemsize(shape, settings, cuda=cuda)
    # On a CPU the head gets weights of its own, packed for its products.
    untied = shape.vocabulary * shape.hidden if shape.tied and not cuda else 0
    return (shape.numbers + untied) * size


def _sampling_itemsize(shape: Shape, settings: TextSettings, *, cuda: bool) -> int:
    stored = torch.bfloat16 if shape.itemsize == 2 else torch.float32
    return chosen_arithmetic(stored, shape.numbers, settings.arithmetic, cpu=not cuda).itemsize


def micro_batch_of(shape: Shape, settings: TextSettings, load: Load, *, cuda: bool) -> MicroBatch:
    """The budget's, or what a round has, and one rollout at least; of one group where it shares its prompt."""
    budget, trainer = settings.trainer.most_tokens, settings.trainer
    pays = load.saving >= least_saving(shape.layers, shape.numbers, cpu=not cuda)
    if pays and not trainer.gradient_checkpointing:
        a_row = load.new_tokens + CACHED_TOKEN_COST * load.prompt_tokens
        rows = max(1, min(load.group, int((budget - load.prompt_tokens) / a_row)))
        scored = rows * load.new_tokens
        return MicroBatch(load.prompt_tokens + scored, scored, rows * load.prompt_tokens)
    rows = max(1, min(load.prompts * load.group, budget // load.one))
    return MicroBatch(rows * load.one, rows * load.new_tokens)


def _activations(shape: Shape, settings: TextSettings, batch: MicroBatch) -> int:
    size = 2 if settings.trainer.bf16 is True else shape.itemsize
    passing = BACKWARD_TENSORS * shape.widest * size
    if settings.trainer.gradient_checkpointing:  # the input of every layer, and one layer's own
        kept = shape.layers * shape.hidden * size + shape.kept / shape.layers
    else:
        kept = shape.kept
    # Rows behind a shared prompt keep its keys and values once more each, for every query head.
    read = 2 * shape.layers * shape.hidden * size
    return int(batch.tokens * (kept + passing) + batch.read * read + shape.kept_once)


def _update_logits(shape: Shape, settings: TextSettings, scored: int) -> int:
    """Of completions' tokens alone; beyond KEPT_BYTES, or under a frozen head, in a buffer that is filled anew."""
    size = 2 if settings.trainer.bf16 is True else shape.itemsize
    numbers = scored * shape.vocabulary
    kept = numbers * size if shape.trains_head and numbers * size <= KEPT_BYTES else 0
    buffer = 0 if kept else min(numbers, REUSED_NUMBERS) * size
    # Log-probs of a part, and under another type than float32 their float32 copies.
    piece = min(numbers, max(CACHED_NUMBERS, shape.vocabulary)) * 4 * (1 if size == 4 else 3)
    return kept + buffer + piece


def _sampling(
    shape: Shape, settings: TextSettings, load: Load, room: int, *, cuda: bool
) -> tuple[int, int, int]:
    """Bytes of keys and values, bytes of a pass, and rollouts in flight: as many as there is room for."""
    size = _sampling_itemsize(shape, settings, cuda=cuda)
    footprint = Footprint.counted(
        token=shape.states * size,
        vocabulary=shape.vocabulary,
        widest=shape.widest,
        heads=shape.heads,
        itemsize=size,
    )
    prompts, widths = [load.prompt_tokens] * load.prompts, [load.new_tokens] * (load.prompts * load.group)
    budget = settings.generation.memory_bytes or max(room, 0)
    try:
        found = plan(footprint, prompts, widths, settings.generation.slots, budget, captured=cuda)
    except PolicyError:  # what not even one takes is told by the parts
        found = plan(footprint, prompts[:1], widths[:1], 1, 2**62, captured=cuda)
    states = (found.slots * found.width + found.prompts * found.prompt_width) * footprint.token
    return states, found.bytes - states, found.slots
