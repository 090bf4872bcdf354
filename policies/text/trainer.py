"""One GRPO update on ready groups, by TRL's loss. The only file that touches private names of TRL.

Works with trl 1.16. `tests/unit/text/test_trainer.py` compares loss and gradient with a hand-written GRPO: it
must pass before the range in pyproject.toml moves.
"""

from __future__ import annotations

import logging
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOTrainer

from policies.optimiser import all_or_nothing, scaled_rate
from policies.policy import DivergedError, PolicyError, SamplerAgreement, UpdateSpec
from policies.randomness import seeded
from policies.seeds import derive_seed
from policies.text.agreement import EXACT, AgreementMeter
from policies.text.batching import MicroBatch, Row, collate, pack
from policies.text.engine.probe import probe_texts
from policies.text.noise import needs_quiet, quieten, switch_off_noise
from policies.text.padding import move_padding_right
from policies.text.scoring_check import scoring_error
from policies.text.settings import TrainerSettings
from policies.text.shared_prefix import CompletionScorer, UnfitError
from policies.text.trl_config import trl_config
from policies.text.update import settled

logger = logging.getLogger(__name__)

# Tokens that sharing a prompt must spare: its rows then fill micro-batches of their own, and a micro-batch has a
# fixed cost. On a CPU that is some 150 tokens of the embedded model and a few of SmolLM2; on a GPU, where it is
# the launches of a forward and a backward pass, thousands.
LEAST_SAVING_ON_CPU, LEAST_SAVING = 256, 4096


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


@dataclass(frozen=True, slots=True)
class Step:
    """What one update did. Loss and entropy are of its first epoch, the clipped share is the mean over epochs."""

    accumulated: Accumulated
    grad_norm: float  # before clipping; the largest of the epochs
    learning_rate: float


class GroupTrainer(GRPOTrainer):
    """TRL's GRPO loss, optimiser and scheduler, driven one update at a time on rows that are given.

    `train()` is never called: it samples, scores and normalises groups of one fixed size, and what a node
    trains on comes from several nodes in groups of any size, with advantages already set.
    """

    epsilon_low: float
    epsilon_high: float

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        settings: TrainerSettings,
        temperature: float,
        seed: int,
        *,
        rounding: float = EXACT,
    ) -> None:
        """`rounding`: mean difference in nats that the arithmetic of sampler and trainer explains."""
        device = next(model.parameters()).device
        if device.type == "cuda" and torch.cuda.device_count() > 1:
            raise PolicyError(
                "one policy trains on one GPU; make a single one visible with CUDA_VISIBLE_DEVICES=0"
            )
        self._settings = settings
        self._seed = seed
        self._pad_id = tokenizer.pad_token_id
        self._rounding = rounding
        self._scored = torch.empty(0)  # log-probs of the last micro-batch
        switch_off_noise(model)
        # TRL creates the folder that it is told to write to, and seeds every global generator.
        with tempfile.TemporaryDirectory() as unused, seeded(seed, device):
            super().__init__(
                model=model,
                args=trl_config(settings, temperature, device, unused),
                reward_funcs=_rewards_come_from_tasks,
                train_dataset=Dataset.from_dict({"prompt": [""] * 2}),
                processing_class=tokenizer,
            )
        self.current_gradient_accumulation_steps = 1
        if settings.gradient_checkpointing:
            # `train()` would do this.
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        optimizer = self.create_optimizer()
        self._prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.create_scheduler(num_training_steps=settings.schedule_steps)
        self._scorer = self._scorer_or_none()
        self._one_row = self._padding_matters()
        self._quiet = needs_quiet(self.model, torch.tensor([probe_texts(self._plain)[0]], device=device))

    def step(self, rows: Sequence[Row], spec: UpdateSpec = UpdateSpec()) -> Step:
        """One update of `spec.epochs` optimiser steps, which the scheduler counts as one.

        Raises DivergedError and NothingToTrainError, weights and optimiser as they were before the first of them.
        """
        if spec.epochs < 1:
            raise ValueError(f"an update of {spec.epochs} epochs; it takes 1 or more")
        parameters, seed = (
            self._prepared.parameters(),
            derive_seed(self._seed, "update", self.state.global_step),
        )
        undoable = all_or_nothing(parameters, self.optimizer) if spec.epochs > 1 else nullcontext()
        with (
            seeded(seed, self.accelerator.device),
            self._clipped_at(spec.clip),
            scaled_rate(self.optimizer, spec.learning_rate_scale) as learning_rate,
            undoable,
        ):
            rows = settled(rows, spec, self._own_logprobs)
            epochs = [self._epoch(rows, spec.constant_length) for _ in range(spec.epochs)]
        if self.state.global_step < self._settings.schedule_steps:  # cosine would rise again beyond its end
            self.lr_scheduler.step()
        self.state.global_step += 1
        clipped = statistics.fmean(accumulated.clipped_share for accumulated, _ in epochs)
        return Step(
            replace(epochs[0][0], clipped_share=clipped), max(norm for _, norm in epochs), learning_rate
        )

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
        loss = entropy = clipped = 0.0
        meter = AgreementMeter((self.epsilon_low, self.epsilon_high), self._rounding)
        for prompt, sharing in groupby(batches, key=lambda batch: batch.shared_prompt):
            with self._shared(prompt):
                for batch in sharing:
                    loss += float(self.training_step(self._prepared, self._fields(batch, normaliser), None))
                    weight = batch.trained_tokens / tokens
                    figures = self._take_figures()
                    entropy += weight * figures["entropy"]
                    clipped += weight * figures["clipped"]
                    meter.add(batch.rows, self._scored.tolist())
        return Accumulated(loss, entropy, clipped, tokens, len(batches), meter.result())

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
            accumulated = self.accumulate(rows, constant_length)
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

    @torch.no_grad()
    def _own_logprobs(self, rows: Sequence[Row]) -> list[list[float]]:
        """Log-probs of the rows' tokens under the policy as it is, in order; without dropout."""
        self._prepared.eval()
        found: dict[int, list[float]] = {}
        for prompt, sharing in groupby(self._packed(rows), key=lambda batch: batch.shared_prompt):
            with self._shared(prompt):
                for batch in sharing:
                    fields = self._fields(batch, 1.0)
                    ids = torch.cat([fields["prompt_ids"], fields["completion_ids"]], 1)
                    mask = torch.cat([fields["prompt_mask"], fields["completion_mask"]], 1)
                    logprobs, _, _ = self._get_per_token_logps_and_entropies(
                        self._prepared, ids, mask, fields["completion_ids"].shape[1]
                    )
                    for row, values in zip(batch.rows, logprobs.tolist(), strict=True):
                        found[id(row)] = values[: len(row.token_ids)]
        return [found[id(row)] for row in rows]

    def _packed(self, rows: Sequence[Row]) -> list[MicroBatch]:
        least = LEAST_SAVING_ON_CPU if self.accelerator.device.type == "cpu" else LEAST_SAVING
        budget = 0 if self._one_row else self._settings.token_budget
        return pack(rows, budget, math.inf if self._scorer is None else least)

    def _fields(self, batch: MicroBatch, normaliser: float) -> dict[str, torch.Tensor]:
        return collate(batch.rows, self._pad_id, normaliser, self.accelerator.device)

    def _shared(self, prompt: tuple[int, ...] | None) -> AbstractContextManager[None]:
        if prompt is None or self._scorer is None:
            return nullcontext()
        return self._scorer.sharing(torch.tensor(prompt, device=self.accelerator.device))

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
        metrics.clear()
        return figures

    def _scorer_or_none(self) -> CompletionScorer | None:
        """Our way of scoring completions where it gives what TRL's gives, else None and a line on why not."""
        plain = self._plain
        try:
            if self._settings.gradient_checkpointing:
                raise UnfitError("gradient checkpointing keeps no keys and values")
            if self.aux_loss_enabled:
                raise UnfitError("its loss has a term for the balance of experts")
            scorer = CompletionScorer(plain, self.temperature, self.accelerator.autocast)
            scorer.compare(partial(super()._get_per_token_logps_and_entropies, self._prepared))
        except UnfitError as error:
            logger.warning("%s trains by TRL's slower step: %s", type(plain).__name__, error)
            return None
        return scorer

    @property
    def _plain(self) -> PreTrainedModel:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def _padding_matters(self) -> bool:
        """Whether micro-batches must be of one row each. Raises PolicyError where even then scores are wrong.

        Gives up our way of scoring where TRL's is right and ours is not.
        """

        def score(ids: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
            return self._get_per_token_logps_and_entropies(self._prepared, ids, mask, width)[0]

        for scorer, together in ((self._scorer, True), (None, True), (None, False)):
            self._scorer = scorer
            error = scoring_error(score, self._plain, self.temperature, self._pad_id, together=together)
            if error <= 1:
                if not together:
                    logger.warning(
                        "padding changes what this model computes: it trains a row at a time, slowly"
                    )
                return not together
        raise PolicyError(
            f"{type(self._plain).__name__} would not be trained as it samples: scores of the training step are "
            f"{error:.0f} times as far from its own as rounding explains; choose another model, or another adapter"
        )

    def compute_loss(self, model: torch.nn.Module, inputs: Any, *args: Any, **options: Any) -> torch.Tensor:
        """TRL has just set training mode."""
        if self._quiet:
            quieten(self.model)
        loss: torch.Tensor = super().compute_loss(model, inputs, *args, **options)
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """TRL scores prompts too, once for every rollout, and pads them on the left without saying where they begin."""
        aux_loss = None
        if self._scorer is None:
            rows = move_padding_right(input_ids, attention_mask, logits_to_keep)
            kept = rows.ids.shape[1] - 1  # every token but the first
            logprobs, entropy, aux_loss = super()._get_per_token_logps_and_entropies(
                model, rows.ids, rows.mask, kept, **options
            )
            logprobs = logprobs.gather(1, rows.places - 1)
            entropy = None if entropy is None else entropy.gather(1, rows.places - 1)
        else:
            logprobs, entropy = self._scorer.score(input_ids, attention_mask, logits_to_keep)
        self._scored = logprobs.detach()
        return logprobs, entropy, aux_loss

    def _prepare_inputs(self, generation_batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """TRL samples and scores here; ours is sampled, scored and padded already."""
        return generation_batch

    def _send_telemetry(self) -> None:
        """TRL reports every new trainer to the hub. A node reports to nobody."""


def _rewards_come_from_tasks(**_: Any) -> list[float]:
    raise PolicyError(
        "TRL asked for rewards, which tasks give before training: its training loop is not to be run"
    )
