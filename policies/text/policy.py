"""The text policy behind the `Policy` seam: a causal language model that samples, learns and is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policies.policy import PolicyError, UpdateReport
from policies.rollout import Finish, Group, Problem, Rollout, Segment, TrainGroup
from policies.text import model as models
from policies.text.batching import rows_of
from policies.text.encoding import Encoding
from policies.text.generation import Completion, Sampler
from policies.text.randomness import seeded
from policies.text.settings import ModelSettings, TextSettings
from policies.text.trainer import GroupTrainer

WEIGHTS_FOLDER = "weights"
PROGRESS_FILE = "progress.pt"


class TextPolicy:
    """See `policies.policy.Policy`. Owns `model`: TRL patches its forward, its weights change in place."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        settings: TextSettings,
        *,
        system: str | None = None,
        seed: int = 0,
    ) -> None:
        base = _plain_model(model)
        generation = settings.generation
        self._model = model
        self._device = base.device
        self._bf16 = settings.trainer.bf16
        self._encoding = Encoding(tokenizer, system, generation.max_new_tokens)
        self._trainer = GroupTrainer(model, tokenizer, settings.trainer, generation.temperature, seed)
        self._sampler = Sampler(base, tokenizer.pad_token_id, _eos_ids(base, tokenizer), generation)
        self._version = 0
        self._fingerprint = f"{base.config.model_type}-{_size(base)}-{self._encoding.fingerprint}"[-64:]

    @classmethod
    def from_settings(
        cls, model: ModelSettings, settings: TextSettings, device: torch.device, seed: int = 0
    ) -> TextPolicy:
        """Loads the model and its tokenizer. Raises PolicyError with the fix when it cannot be had."""
        loaded, tokenizer = models.load(model, device, seed)
        return cls(loaded, tokenizer, settings, system=model.system, seed=seed)

    @property
    def version(self) -> int:
        return self._version

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def generate(self, problems: Sequence[Problem], rollouts: int, seed: int) -> list[Group]:
        prompts = [self._encoding.prompt(problem.prompt) for problem in problems]
        repeated = [prompt for prompt in prompts for _ in range(rollouts)]
        # The precision of training, so that a fresh rollout's ratio is 1.
        precision = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)
        with seeded(seed, self._device), precision:
            completions = iter(self._sampler.sample(repeated))
        return [
            Group(problem, tuple(self._rollout(next(completions)) for _ in range(rollouts)))
            for problem in problems
        ]

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        return self._encoding.completion(text, finish)

    def update(self, batch: Sequence[TrainGroup]) -> UpdateReport:
        rows = rows_of(batch, self._encoding.prompt)
        step = self._trainer.step(rows)
        if step.learning_rate > 0:  # zero at the first update of a warmup
            self._version += 1
        return UpdateReport(
            loss=step.accumulated.loss,
            grad_norm=step.grad_norm,
            learning_rate=step.learning_rate,
            entropy=step.accumulated.entropy,
            clipped_share=step.accumulated.clipped_share,
            rollouts=len(rows),
            tokens=step.accumulated.tokens,
            micro_batches=step.accumulated.micro_batches,
        )

    def save(self, folder: Path) -> None:
        """Random state needs no file: every draw derives from the seed and the number of updates."""
        models.save_weights(self._model, folder / WEIGHTS_FOLDER)
        progress = {
            "trainer": self._trainer.progress(),
            "version": self._version,
            "fingerprint": self._fingerprint,
        }
        torch.save(progress, folder / PROGRESS_FILE)

    def load(self, folder: Path) -> None:
        """Raises PolicyError when `folder` holds no complete save of a policy of this fingerprint."""
        progress = _read_progress(folder / PROGRESS_FILE)
        if progress["fingerprint"] != self._fingerprint:
            raise PolicyError(
                f"{folder} was saved by {progress['fingerprint']}, this policy is {self._fingerprint}; "
                "resume with the configuration that wrote it"
            )
        models.load_weights(self._model, folder / WEIGHTS_FOLDER)
        self._trainer.resume(progress["trainer"])
        self._version = progress["version"]

    def _rollout(self, completion: Completion) -> Rollout:
        segment = Segment(self._version, completion.token_ids, completion.logprobs)
        finish = Finish.STOP if completion.stopped else Finish.LENGTH
        return Rollout(self._encoding.decode(completion.token_ids), (segment,), finish)


def _read_progress(file: Path) -> dict[str, Any]:
    """Reads tensors and plain values only: `weights_only` refuses a pickle that names anything else."""
    try:
        progress: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise PolicyError(f"{file} cannot be read ({error}); resume from another checkpoint") from error
    return progress


def _plain_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model; an adapter's layers stay in it."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(plain, PreTrainedModel):
        raise PolicyError(
            f"a text policy needs a transformers causal language model, not {type(plain).__name__}"
        )
    return plain


def _size(model: PreTrainedModel) -> int:
    """Parameters without those of an adapter: peers compare models, not how they are trained."""
    return sum(value.numel() for name, value in model.named_parameters() if "lora_" not in name)


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a completion: a model may name more of them than its tokenizer."""
    named = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *([] if named is None else [named] if isinstance(named, int) else named)}
