"""One GRPO update on ready groups, by TRL's loss.

Works with trl 1.16, whose private names appear here and in `scoring` alone. `tests/unit/text/test_trainer.py`
compares loss and gradient with a hand-written GRPO: it must pass before the range in pyproject.toml moves.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

import torch
from peft import PeftModel

from policies.direction import Direction
from policies.error_words import brief
from policies.optimiser import all_or_nothing, scaled_rate
from policies.policy import DivergedError, PolicyError, SamplerAgreement, UpdateSpec
from policies.randomness import seeded
from policies.seeds import derive_seed
from policies.text.agreement import AgreementMeter
from policies.text.batching import Row, pack, whole_rows
from policies.text.engine.memory_plan import PeakMeter, is_shortage, release
from policies.text.gradient_sketch import sketch
from policies.text.noise import adapter_drops
from policies.text.scoring import ScoringTrainer
from policies.text.update import settled

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Updates between two passes that compare sampler and trainer apart from the update itself; the first is compared.
AGREEMENT_EVERY = 20


class NothingToTrainError(ValueError):
    """A batch without a token to train on."""


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What the micro-batches of one epoch left behind, beside the gradients."""

    loss: float
    entropy: float  # nats a token
    clipped_share: float
    tokens: int
    micro_batches: int
    agreement: SamplerAgreement | None = None  # of fresh own tokens with what the sampler recorded
    kl: float | None = None  # nats a token to the model without its adapter; None where no term asks for it


@dataclass(frozen=True, slots=True)
class Step:
    """What one update did. Loss and entropy are of its first epoch, the clipped share is the mean over epochs."""

    accumulated: Accumulated
    grad_norm: float  # before clipping; the largest of the epochs
    learning_rate: float
    shortage: str | None = None  # what became of the micro-batches where memory was short
    implausible: int = 0  # tokens of peers under the floor
    peak_bytes: int = 0  # of memory, beyond what was in use before it


class GroupTrainer(ScoringTrainer):
    """TRL's GRPO loss, optimiser and scheduler, driven one update at a time on rows that are given.

    `train()` is never called: it samples, scores and normalises groups of one fixed size, and what a node
    trains on comes from several nodes in groups of any size, with advantages already set.
    """

    def step(self, rows: Sequence[Row], spec: UpdateSpec = UpdateSpec()) -> Step:
        """One update of `spec.epochs` optimiser steps, which the scheduler counts as one.

        Raises DivergedError and NothingToTrainError, weights and optimiser as they were before the first of them.
        """
        if spec.epochs < 1:
            raise ValueError(f"an update of {spec.epochs} epochs; it takes 1 or more")
        parameters = self._prepared.parameters()
        seed = derive_seed(self._seed, "update", self.state.global_step)
        self._meter = PeakMeter(self.accelerator.device)
        undoable = all_or_nothing(parameters, self.optimizer) if spec.epochs > 1 else nullcontext()
        with (
            seeded(seed, self.accelerator.device),
            self._clipped_at(spec.clip),
            scaled_rate(self.optimizer, spec.learning_rate_scale) as learning_rate,
            undoable,
        ):
            given = sum(row.trained_tokens for row in rows if row.external)
            rows = self._within_memory(lambda: settled(rows, spec, self._own_logprobs))
            implausible = given - sum(row.trained_tokens for row in rows if row.external)
            apart = self._within_memory(lambda: self._agreement_apart(rows))
            rows = self._within_memory(lambda: self._with_reference(rows))
            epochs = [self._epoch(rows, spec.constant_length) for _ in range(spec.epochs)]
        # Cosine would rise again beyond its end.
        if self.state.global_step < (self._settings.schedule_steps or math.inf):
            self.lr_scheduler.step()
        self.state.global_step += 1
        clipped = statistics.fmean(accumulated.clipped_share for accumulated, _ in epochs)
        first = epochs[0][0]
        accumulated = replace(first, clipped_share=clipped, agreement=apart or first.agreement)
        shortage, self._shortage = self._shortage, None
        self._meter.read()
        norm = max(norm for _, norm in epochs)
        return Step(accumulated, norm, learning_rate, shortage, implausible, self._meter.peak)

    def accumulate(self, rows: Sequence[Row], constant_length: int | None = None) -> Accumulated:
        """Adds the gradient of the loss over `rows` to the parameters' gradients, in micro-batches.

        The loss is the sum over all trained tokens divided by their number (DAPO, arXiv 2503.14476, sec. 3.3),
        or by `constant_length` for each of `rows` (Dr. GRPO, arXiv 2503.20783, sec. 3.2); so how rows are split
        does not change it. Rows of zero advantage count and are not computed: their gradient is zero.
        """
        live = [row for row in rows if row.learns]
        if not live:
            raise NothingToTrainError("no rollout of the batch has an advantage and a token that trains")
        tokens = sum(row.trained_tokens for row in live)
        normaliser = (
            len(rows) * constant_length if constant_length else sum(row.trained_tokens for row in rows)
        )
        batches = self._packed(live)
        self._prepared.train()
        loss = entropy = clipped = kl = 0.0
        meter = AgreementMeter((self.epsilon_low, self.epsilon_high), self.rounding)
        blurred = adapter_drops(self.model)
        self.beta = self._settings.beta if live[0].reference is not None else 0.0
        for prompt, sharing in groupby(batches, key=lambda batch: batch.shared_prompt):
            with self._shared(prompt):
                for batch in sharing:
                    loss += float(self.training_step(self._prepared, self._fields(batch, normaliser), None))
                    weight = batch.trained_tokens / tokens
                    figures = self._take_figures()
                    entropy += weight * figures["entropy"]
                    clipped += weight * figures["clipped"]
                    kl += weight * figures["kl"]
                    if not blurred:
                        meter.add(batch.rows, self._scored.tolist())
        agreement = meter.result()
        return Accumulated(loss, entropy, clipped, tokens, len(batches), agreement, kl if self.beta else None)

    def directions(self, groups: Sequence[Sequence[Row]]) -> list[Direction | None]:
        """Which way each of `groups` pulls the output layer, without dropout; None where no row learns.

        None too where hidden states are not to be had apart from a model's own scores, or no number is found.
        """
        found = self._within_memory(lambda: self._output_gradients(groups))
        return [None if (pull := found.get(group)) is None else sketch(pull) for group in range(len(groups))]

    def _output_gradients(self, groups: Sequence[Sequence[Row]]) -> dict[int, torch.Tensor]:
        """By the number of the group, folded."""
        found: dict[int, torch.Tensor] = {}
        if (reader := self._reader) is None:
            return found
        self._prepared.eval()
        group_of = {id(row): group for group, rows in enumerate(groups) for row in rows if row.learns}
        learning = [row for rows in groups for row in rows if row.learns]
        for batch in pack(learning, 0 if self._one_row else self._budget):
            fields = self._fields(batch, 1.0)
            weights = fields["advantages"][:, None] * fields["completion_mask"] * fields.get("tool_mask", 1)
            numbers = torch.tensor([group_of[id(row)] for row in batch.rows], device=weights.device)
            pulls = reader.output_gradients(*whole_rows(fields), weights, numbers)
            for group, pull in pulls.items():
                found[group] = found[group] + pull if group in found else pull
        return found

    def progress(self) -> dict[str, Any]:
        """Optimiser, scheduler and step count, as plain containers of tensors and numbers."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.lr_scheduler.state_dict(),
            "step": self.state.global_step,
        }

    def resume(self, progress: dict[str, Any]) -> None:
        """Takes up what `progress` gave; the weights are restored by whoever owns the model."""
        self.optimizer.load_state_dict(progress["optimizer"])
        self.lr_scheduler.load_state_dict(progress["scheduler"])
        self.state.global_step = progress["step"]

    def _epoch(self, rows: Sequence[Row], constant_length: int | None) -> tuple[Accumulated, float]:
        """One optimiser step, and the norm of its gradient. Raises DivergedError before it changes anything."""
        try:
            accumulated = self._within_memory(lambda: self.accumulate(rows, constant_length))
            norm = self._clipped_norm()
            if not (math.isfinite(accumulated.loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"loss {accumulated.loss}, gradient norm {norm}: the update was dropped; "
                    "lower the learning rate or go back to an earlier checkpoint"
                )
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad()
        return accumulated, norm

    def _within_memory(self, work: Callable[[], T]) -> T:
        """What `work` gives, begun again with half the micro-batch whenever memory runs short.

        Only on what changes nothing but gradients, which are dropped then. Raises PolicyError at a single row.
        """
        while True:
            try:
                return work()
            except RuntimeError as error:
                self._halve_budget(error)
            self.optimizer.zero_grad()
            release(self.accelerator.device)

    def _halve_budget(self, error: RuntimeError) -> None:
        """Raises `error` itself where it is not for a lack of memory."""
        if not is_shortage(error):
            raise error
        if self._most_rows <= 1:
            raise PolicyError(
                f"training on not even one rollout fits into memory: {brief(error)}; set "
                "trainer.gradient_checkpointing = true, train an adapter (model.lora), lower "
                "generation.max_new_tokens or choose a smaller model"
            ) from error
        before, self._budget = self._budget, max(1, min(self._budget, self._costliest) // 2)
        self._shortage = (
            f"out of memory in the update: micro-batches are of at most {self._budget} tokens from now on, after "
            f"{before}; set trainer.token_budget = {self._budget}"
        )
        logger.warning(self._shortage)

    @contextmanager
    def _clipped_at(self, clip: tuple[float, float] | None) -> Iterator[None]:
        """Inside, ratios are clipped as `clip` says, where it says anything."""
        if clip and self._settings.loss == "cispo" and clip[1] < 1.0:
            raise PolicyError(
                f"the strategy clips ratios at 1 + {clip[1]}, and loss = 'cispo' would cap them at {clip[1]} "
                "itself; set trainer.loss to 'dapo'"
            )
        own = (self.epsilon_low, self.epsilon_high)
        self.epsilon_low, self.epsilon_high = clip or own
        try:
            yield
        finally:
            self.epsilon_low, self.epsilon_high = own

    def _agreement_apart(self, rows: Sequence[Row]) -> SamplerAgreement | None:
        """Where an adapter's dropout blurs the update's own scores: by a pass without it, now and then."""
        fresh = [row for row in rows if row.sampled is not None and row.learns]
        if not fresh or self.state.global_step % AGREEMENT_EVERY or not adapter_drops(self.model):
            return None
        meter = AgreementMeter((self.epsilon_low, self.epsilon_high), self.rounding)
        meter.add(fresh, self._own_logprobs(fresh))
        return meter.result()

    def _with_reference(self, rows: Sequence[Row]) -> list[Row]:
        """Rows that learn with their log-probs under the model without its adapter, where a KL term asks for them."""
        live = [row for row in rows if row.learns]
        if not self._settings.beta or not live:
            return list(rows)
        assert isinstance(self.model, PeftModel)
        with self.model.disable_adapter():
            found = iter(self._own_logprobs(live))
        return [replace(row, reference=tuple(next(found))) if row.learns else row for row in rows]

    def _clipped_norm(self) -> float:
        """Scales the gradient down to the norm that is allowed, and gives the norm it had."""
        return float(
            self.accelerator.clip_grad_norm_(self._prepared.parameters(), self._settings.max_grad_norm)
        )

    def _take_figures(self) -> dict[str, float]:
        """The figures of the last micro-batch, out of what TRL collects for its logs."""
        metrics = self._metrics["train"]
        clipped = metrics["clip_ratio/region_mean" if self._settings.loss == "dapo" else "cispo_clip_ratio"]
        figures = {"entropy": metrics["entropy"][-1], "clipped": clipped[-1]}
        figures["kl"] = metrics["kl"][-1] if self.beta else 0.0
        metrics.clear()
        return figures
