"""One GRPO update on ready groups, by TRL's loss. The only file that touches private names of TRL.

Works with trl 1.16. `tests/unit/text/test_trainer.py` compares loss and gradient with a hand-written GRPO: it
must pass before the range in pyproject.toml moves.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from policies.policy import DivergedError, PolicyError
from policies.seeds import derive_seed
from policies.text.batching import Row, collate, pack
from policies.text.randomness import seeded
from policies.text.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What the micro-batches of one step left behind, beside the gradients."""

    loss: float
    entropy: float  # nats a token
    clipped_share: float
    tokens: int
    micro_batches: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimiser update did."""

    accumulated: Accumulated
    grad_norm: float  # before clipping
    learning_rate: float


class GroupTrainer(GRPOTrainer):
    """TRL's GRPO loss, optimiser and scheduler, driven one update at a time on rows that are given.

    `train()` is never called: it samples, scores and normalises groups of one fixed size, and what a node
    trains on comes from several nodes in groups of any size, with advantages already set.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        settings: TrainerSettings,
        temperature: float,
        seed: int,
    ) -> None:
        device = next(model.parameters()).device
        if device.type == "cuda" and torch.cuda.device_count() > 1:
            raise PolicyError(
                "one policy trains on one GPU; make a single one visible with CUDA_VISIBLE_DEVICES=0"
            )
        self._settings = settings
        self._seed = seed
        self._pad_id = tokenizer.pad_token_id
        # TRL creates the folder that it is told to write to, and seeds every global generator.
        with tempfile.TemporaryDirectory() as unused, seeded(seed, device):
            super().__init__(
                model=model,
                args=_trl_config(settings, temperature, device, unused),
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

    def step(self, rows: Sequence[Row]) -> Step:
        """One optimiser update. Raises DivergedError with weights and optimiser as they were."""
        try:
            with seeded(derive_seed(self._seed, "update", self.state.global_step), self.accelerator.device):
                accumulated = self.accumulate(rows)
            norm = self._clipped_norm()
            if not (math.isfinite(accumulated.loss) and math.isfinite(norm)):
                raise DivergedError(
                    f"loss {accumulated.loss}, gradient norm {norm}: the update was dropped; "
                    "lower the learning rate or go back to an earlier checkpoint"
                )
            learning_rate = float(self.lr_scheduler.get_last_lr()[0])
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad()
        if self.state.global_step < self._settings.schedule_steps:  # cosine would rise again beyond its end
            self.lr_scheduler.step()
        self.state.global_step += 1
        return Step(accumulated, norm, learning_rate)

    def accumulate(self, rows: Sequence[Row]) -> Accumulated:
        """Adds the gradient of the loss over `rows` to the parameters' gradients, in micro-batches.

        The loss is the sum over all completion tokens divided by their number (DAPO, arXiv 2503.14476,
        sec. 3.3), so how rows are split does not change it. Rows of zero advantage count among the tokens and
        are not computed: their gradient is zero.
        """
        tokens = sum(len(row.token_ids) for row in rows)
        live = [row for row in rows if row.advantage != 0.0]
        if not live:
            raise ValueError("nothing to train on; the batch must hold a non-empty rollout with an advantage")
        live_tokens = sum(len(row.token_ids) for row in live)
        batches = pack(live, self._settings.token_budget)
        loss = entropy = clipped = 0.0
        for index, batch in enumerate(batches):
            fields = collate(batch, self._pad_id, tokens, self.accelerator.device)
            last = index == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self._prepared):
                loss += float(self.training_step(self._prepared, fields, None))
            weight = sum(len(row.token_ids) for row in batch) / live_tokens
            figures = self._take_figures()
            entropy += weight * figures["entropy"]
            clipped += weight * figures["clipped"]
        return Accumulated(loss, entropy, clipped, live_tokens, len(batches))

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

    def _prepare_inputs(self, generation_batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """TRL samples and scores here; ours is sampled, scored and padded already."""
        return generation_batch

    def _send_telemetry(self) -> None:
        """TRL reports every new trainer to the hub. A node reports to nobody."""


def _trl_config(
    settings: TrainerSettings, temperature: float, device: torch.device, folder: str
) -> GRPOConfig:
    """Sets what TRL would choose for itself; bf16 and gradient checkpointing are on unless told otherwise."""
    warmup = settings.scheduler == "constant" and settings.warmup_steps > 0
    return GRPOConfig(
        output_dir=folder,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if warmup else settings.scheduler,
        warmup_steps=settings.warmup_steps,
        optim="adamw_torch",
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        weight_decay=settings.weight_decay,
        loss_type=settings.loss,
        epsilon=settings.epsilon_low,
        epsilon_high=settings.epsilon_high,
        temperature=temperature,
        beta=0.0,  # no KL term and so no reference model
        bf16=settings.bf16,
        activation_checkpointing=settings.gradient_checkpointing,
        use_cpu=device.type == "cpu",
        use_cache=True,  # only a mark in the model's saved configuration
        per_device_train_batch_size=2,  # smallest that TRL accepts; micro-batches are ours
        num_generations=2,
        gradient_accumulation_steps=1,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _rewards_come_from_tasks(**_: Any) -> list[float]:
    raise PolicyError(
        "TRL asked for rewards, which tasks give before training: its training loop is not to be run"
    )
