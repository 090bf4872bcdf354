"""TRL's GRPO trainer with scores that are those of the policy that sampled: padded where it is harmless, without noise.

Works with trl 1.16, whose private names appear here and in `trainer` alone.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOTrainer

from policies.error_words import brief
from policies.policy import PolicyError
from policies.randomness import seeded
from policies.text.agreement import EXACT
from policies.text.batching import MicroBatch, Row, collate, cost, pack, whole_rows
from policies.text.engine.memory_plan import PeakMeter
from policies.text.engine.probe import FOREIGN, SAMPLED, probe_texts
from policies.text.loading.quantised import require_bitsandbytes
from policies.text.loading.weights import parameters_of
from policies.text.noise import needs_quiet, quieten, switch_off_noise
from policies.text.padding import RightPadded, move_padding_right
from policies.text.scoring_check import scoring_error
from policies.text.settings import TrainerSettings
from policies.text.shared_prefix import CompletionScorer, UnfitError
from policies.text.trl_config import trl_config

logger = logging.getLogger(__name__)

# A shared prompt's rows fill micro-batches of their own, and a micro-batch has a fixed cost a layer: as much as this
# many weights take of one token. On a CPU that is some 150 tokens of the embedded model and 7 of SmolLM2.
LEAST_SAVING_ON_CPU = 30_000_000
# On a GPU it is the launches of a forward and a backward pass: tokens, of small and large models alike.
LEAST_SAVING = 4096


def least_saving(layers: int, parameters: int, *, cpu: bool) -> float:
    """Tokens that sharing a prompt must spare in a model of this size, so that it pays."""
    return LEAST_SAVING_ON_CPU * layers / parameters if cpu else LEAST_SAVING


@dataclass(frozen=True, slots=True)
class TrainerProof:
    """That prompts are shared and rows padded exactly, by comparisons that a later start need not repeat."""

    quiet: bool  # updates have to `quieten` the model
    balances: bool  # the loss has a term for the balance of experts


class ScoringTrainer(GRPOTrainer):
    """Owns model, optimiser and scheduler, and scores rows of any lengths. What it trains on is `GroupTrainer`'s."""

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
        proof: TrainerProof | None = None,
    ) -> None:
        """`proof`: of this model under these settings, where it was compared before."""
        device = next(model.parameters()).device
        if settings.optimizer == "adamw_8bit":
            require_bitsandbytes("trainer.optimizer")
        if settings.beta and not isinstance(model, PeftModel):
            raise PolicyError(
                "trainer.beta holds an adapter to the model under it, and all weights are trained here: set "
                "model.lora, or beta = 0"
            )
        self._settings = settings
        self._seed = seed
        self._budget = settings.most_tokens  # of a micro-batch; lower once memory was short
        self._shortage: str | None = None  # what the update under way did about too little memory
        self._costliest, self._most_rows = 0, 0  # of the micro-batches that were packed last
        self._pad_id = tokenizer.pad_token_id
        self.rounding = EXACT  # what the arithmetic of sampler and trainer explains
        self._inputs: dict[str, torch.Tensor] = {}  # of the micro-batch whose loss is computed
        self._meter = PeakMeter(device)
        self._scored = torch.empty(0)  # log-probs of the last micro-batch
        self._with_gradient: tuple[torch.Tensor, torch.Tensor | None] | None = None  # and its entropies
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
        self.create_scheduler(num_training_steps=settings.schedule_steps or 1)
        self.refusal: str | None = None  # why prompts are not shared; None where they are
        self._scorer: CompletionScorer | None = None
        self._by_logits = False
        if proof is None:
            self._compare()
        else:
            self.aux_loss_enabled: bool = proof.balances
            self._scorer, self._one_row, self._quiet = self._new_scorer(), False, proof.quiet

    @property
    def proof(self) -> TrainerProof | None:
        """None where prompts are not shared, or rows not padded."""
        found = TrainerProof(self._quiet, self.aux_loss_enabled)
        return None if self._scorer is None or self._one_row else found

    @property
    def path(self) -> str:
        """What scores completions: `shared prompt`, `TRL` or `whole logits`, and on `one row` where it must."""
        way = "shared prompt" if self._scorer else "whole logits" if self._by_logits else "TRL"
        return f"{way}, one row" if self._one_row else way

    @torch.no_grad()
    def _own_logprobs(self, rows: Sequence[Row]) -> list[list[float]]:
        """Log-probs of the rows' tokens under the policy as it is, in order; without dropout."""
        self._prepared.eval()
        found: dict[int, list[float]] = {}
        for prompt, sharing in groupby(self._packed(rows), key=lambda batch: batch.shared_prompt):
            with self._shared(prompt):
                for batch in sharing:
                    fields = self._fields(batch, 1.0)
                    width = fields["completion_ids"].shape[1]
                    logprobs, _, _ = self._get_per_token_logps_and_entropies(
                        self._prepared, *whole_rows(fields), width
                    )
                    for row, values in zip(batch.rows, logprobs.tolist(), strict=True):
                        found[id(row)] = values[: len(row.token_ids)]
        return [found[id(row)] for row in rows]

    def _packed(self, rows: Sequence[Row]) -> list[MicroBatch]:
        budget = 0 if self._one_row else self._budget
        batches = pack(rows, budget, math.inf if self._scorer is None else self.least_saving)
        self._costliest = max((int(cost(batch.rows, batch.shared_prompt)) for batch in batches), default=0)
        self._most_rows = max((len(batch.rows) for batch in batches), default=0)
        return batches

    @property
    def least_saving(self) -> float:
        """Tokens that sharing a prompt must spare, so that it pays for micro-batches of its own."""
        layers = int(self._plain.config.get_text_config().num_hidden_layers)
        return least_saving(layers, parameters_of(self._plain), cpu=self.accelerator.device.type == "cpu")

    def _fields(self, batch: MicroBatch, normaliser: float) -> dict[str, torch.Tensor]:
        return collate(batch.rows, self._pad_id, normaliser, self.accelerator.device)

    def _shared(self, prompt: tuple[int, ...] | None) -> AbstractContextManager[None]:
        if prompt is None or self._scorer is None:
            return nullcontext()
        return self._scorer.sharing(torch.tensor(prompt, device=self.accelerator.device))

    def _compare(self) -> None:
        """The best way of scoring that is exact. Raises PolicyError where none is."""
        self.aux_loss_enabled = self.aux_loss_enabled and self._balances()
        self._scorer = self._scorer_or_none()
        self._one_row = self._padding_matters()
        text = torch.tensor([probe_texts(self._plain)[0]], device=self.accelerator.device)
        self._quiet = needs_quiet(self.model, text)

    @torch.no_grad()
    def _balances(self) -> bool:
        """Whether the library computes the term for the balance of experts that the configuration asks for."""
        ids = torch.tensor([probe_texts(self._plain)[0]], device=self.accelerator.device)
        mask = torch.ones_like(ids)
        try:
            scores = self._get_per_token_logps_and_entropies(
                self._prepared, ids, mask, SAMPLED, compute_aux_loss=True
            )
        except FOREIGN as error:
            logger.warning("no term for the balance of experts in the loss: %s", brief(error))
            return False
        return scores[2] is not None

    def _scorer_or_none(self) -> CompletionScorer | None:
        """Our way of scoring completions where it gives what TRL's gives, else None and a line on why not."""
        plain = self._plain
        try:
            if self._settings.gradient_checkpointing:
                raise UnfitError("gradient checkpointing keeps no keys and values")
            scorer = self._new_scorer()
            scorer.compare(partial(super()._get_per_token_logps_and_entropies, self._prepared))
        except UnfitError as error:
            self.refusal = str(error)
            logger.warning("%s trains by TRL's slower step: %s", type(plain).__name__, error)
            return None
        return scorer

    @property
    def _reader(self) -> CompletionScorer | None:
        """What computes hidden states without a shared prompt, which recomputing them in the backward pass allows."""
        if self._scorer is not None or not self._settings.gradient_checkpointing:
            return self._scorer
        try:
            return self._new_scorer()
        except UnfitError:
            return None

    def _new_scorer(self) -> CompletionScorer:
        return CompletionScorer(
            self._plain, self.temperature, self.accelerator.autocast, balances=self.aux_loss_enabled
        )

    @property
    def _plain(self) -> PreTrainedModel:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def _padding_matters(self) -> bool:
        """Whether micro-batches must be of one row each. Raises PolicyError where even then scores are wrong.

        Takes the first way of scoring that is right: ours, TRL's, or the whole logits, which take the most memory.
        """

        def score(ids: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
            return self._get_per_token_logps_and_entropies(self._prepared, ids, mask, width)[0]

        coarse = self._settings.bf16 is True or self._plain.dtype.itemsize == 2
        ours, nearest, failed = self._scorer, math.inf, ""
        for self._scorer, self._by_logits, together in (
            (ours, False, True),
            (None, False, True),
            (None, True, True),
            (None, False, False),
            (None, True, False),
        ):
            try:
                error = scoring_error(
                    score, self._plain, self.temperature, self._pad_id, together=together, coarse=coarse
                )
            except FOREIGN as failure:
                failed = brief(failure)
                logger.warning("scores of the training step: %s", failed)
                continue
            if error <= 1:
                if not together:
                    logger.warning(
                        "padding changes what this model computes: it trains a row at a time, slowly"
                    )
                return not together
            nearest = min(nearest, error)
        if nearest == math.inf and failed:
            raise PolicyError(
                f"{type(self._plain).__name__} cannot be trained: {failed}; choose another model"
            )
        raise PolicyError(
            f"{type(self._plain).__name__} would not be trained as it samples: scores of the training step are "
            f"{nearest:.0f} times as far from its own as rounding explains; choose another model, or another adapter"
        )

    def compute_loss(self, model: torch.nn.Module, inputs: Any, *args: Any, **options: Any) -> torch.Tensor:
        """TRL has just set training mode."""
        if self._quiet:
            quieten(self.model)
        self._inputs = inputs
        try:
            loss: torch.Tensor = super().compute_loss(model, inputs, *args, **options)
        finally:
            self._inputs = {}
        return (
            loss - self._settings.entropy_bonus * self._entropy(inputs)
            if self._settings.entropy_bonus
            else loss
        )

    def _entropy(self, inputs: Any) -> torch.Tensor:
        """What has the gradient of the mean entropy of a token: (-log p - H) log p of the tokens that were sampled.

        The head's entropies carry no gradient themselves. E[-log p grad log p] is the entropy's gradient, and H, which
        takes nothing from it, takes most of its spread. Exact in the mean for tokens of the policy as it is.
        """
        assert self._with_gradient is not None
        logprobs, entropy = self._with_gradient
        assert entropy is not None
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        surprise = (-logprobs - entropy).detach()
        total: torch.Tensor = (surprise * logprobs * mask).sum()
        tokens: torch.Tensor = inputs["num_items_in_batch"]
        return total / tokens.clamp(min=1.0)

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
            if self._by_logits:
                logprobs, entropy = self._scores_of_logits(model, rows)
            else:
                logprobs, entropy, aux_loss = super()._get_per_token_logps_and_entropies(
                    model, rows.ids, rows.mask, kept, **options
                )
            logprobs = logprobs.gather(1, rows.places - 1)
            entropy = None if entropy is None else entropy.gather(1, rows.places - 1)
        else:
            logprobs, entropy = self._scorer.score(input_ids, attention_mask, logits_to_keep)
            aux_loss = self._scorer.balance
        self._scored = logprobs.detach()
        self._with_gradient = logprobs, entropy
        self._complete_behaviour()
        self._meter.read()  # while all that the backward pass needs is in memory
        return logprobs, entropy, aux_loss

    def _complete_behaviour(self) -> None:
        """Gives rows of unknown behaviour the scores that they have just got: their ratios start at 1.

        TRL, which asks for the field after this, takes it for all rows or for none, and peers' rows have none.
        """
        known = self._inputs.get("known_rows")
        if known is not None:
            recorded = self._inputs["old_per_token_logps"]
            self._inputs["old_per_token_logps"] = torch.where(known, recorded, self._scored)

    def _scores_of_logits(
        self, model: torch.nn.Module, rows: RightPadded
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs and entropies (B, L - 1) of every token but the first, for heads that TRL does not know."""
        with self.accelerator.autocast():
            logits = model(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False).logits[:, :-1]
        whole = torch.log_softmax(logits.float() / self.temperature, dim=-1)
        with torch.no_grad():
            entropy = -(whole.exp() * whole).sum(dim=-1)
        return whole.gather(2, rows.ids[:, 1:, None])[..., 0], entropy

    def _prepare_inputs(self, generation_batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """TRL samples and scores here; ours is sampled, scored and padded already."""
        return generation_batch

    def _send_telemetry(self) -> None:
        """TRL reports every new trainer to the hub. A node reports to nobody."""


def _rewards_come_from_tasks(**_: Any) -> list[float]:
    raise PolicyError(
        "TRL asked for rewards, which tasks give before training: its training loop is not to be run"
    )
