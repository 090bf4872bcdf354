"""The text policy behind the `Policy` seam: a causal language model that samples, learns and is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from policies.policy import PolicyError, RolloutRequest, Stop, UpdateReport, UpdateSpec, never
from policies.progress import read_progress, save_progress
from policies.rollout import Finish, Problem, Rollout, Segment, TrainGroup
from policies.text import model as models
from policies.text.batching import rows_of
from policies.text.encoding import Encoding
from policies.text.engine import Continuation, Engine, Request, Sampling
from policies.text.settings import GenerationSettings, ModelSettings, TextSettings
from policies.text.trainer import GroupTrainer, NothingToTrainError

WEIGHTS_FOLDER = "weights"
GIGABYTE = 1_000_000_000


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
        self._encoding = Encoding(tokenizer, system, generation.max_new_tokens)
        self._trainer = GroupTrainer(model, tokenizer, settings.trainer, generation.temperature, seed)
        self._engine = Engine(
            base,
            _eos_ids(base, tokenizer),
            slots=generation.slots,
            memory_budget=_bytes(generation.memory_gb),
            arithmetic="bfloat16" if _bfloat16_wanted(settings) else generation.arithmetic,
        )
        self._engine.require_room(generation.max_new_tokens)
        self._engine_is_behind = False  # its copy of the weights is older than the policy's
        self._generation = generation
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

    def sample(
        self, requests: Sequence[RolloutRequest], *, stop: Stop = never, held_out: bool = False
    ) -> list[Rollout]:
        if self._engine_is_behind:
            self._engine.refresh()
            self._engine_is_behind = False
        prompts = {problem: self._encoding.prompt(problem.prompt) for problem in _problems(requests)}
        asked = [
            Request(
                prompts[request.problem],
                request.key,
                self._generation.max_new_tokens,
                request.begun.token_ids if request.begun else (),
            )
            for request in requests
        ]
        continuations = self._engine.run(asked, _sampling(self._generation, held_out=held_out), stop)
        return [self._rollout(*pair) for pair in zip(requests, continuations, strict=True)]

    def encode(self, text: str, finish: Finish) -> tuple[int, ...]:
        return self._encoding.completion(text, finish)

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport | None:
        rows = rows_of(batch, self._encoding.prompt, self._version)
        try:
            step = self._trainer.step(rows, spec)
        except NothingToTrainError:
            return None
        self._engine_is_behind = True
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
        save_progress(folder, self._trainer.progress(), self._version, self._fingerprint)

    def load(self, folder: Path) -> None:
        """Raises PolicyError when `folder` holds no complete save of a policy of this fingerprint."""
        progress, version = read_progress(folder, self._fingerprint)
        models.load_weights(self._model, folder / WEIGHTS_FOLDER)
        self._trainer.resume(progress)
        self._version = version
        self._engine_is_behind = True

    def _rollout(self, request: RolloutRequest, continuation: Continuation) -> Rollout:
        segments = request.begun.segments if request.begun else ()
        if continuation.token_ids:
            new = Segment(self._version, continuation.token_ids, continuation.logprobs)
            segments = _extended(segments, new)
        ids = [token for segment in segments for token in segment.token_ids]
        return Rollout(self._encoding.decode(ids), segments, continuation.finish)


def _plain_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model; an adapter's layers stay in it."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(plain, PreTrainedModel):
        raise PolicyError(
            f"a text policy needs a transformers causal language model, not {type(plain).__name__}"
        )
    return plain


def _problems(requests: Sequence[RolloutRequest]) -> set[Problem]:
    return {request.problem for request in requests}


def _extended(segments: tuple[Segment, ...], new: Segment) -> tuple[Segment, ...]:
    """One segment a policy version: tokens of the same version join the last one."""
    last = segments[-1] if segments else None
    if last is None or last.policy_version != new.policy_version or None in (last.logprobs, new.logprobs):
        return (*segments, new)
    assert last.logprobs is not None and new.logprobs is not None
    joined = Segment(new.policy_version, last.token_ids + new.token_ids, last.logprobs + new.logprobs)
    return (*segments[:-1], joined)


def _sampling(settings: GenerationSettings, *, held_out: bool) -> Sampling:
    if not held_out:
        return Sampling(settings.temperature)
    return Sampling(settings.held_out.temperature, settings.held_out.top_k, settings.held_out.top_p)


def _bfloat16_wanted(settings: TextSettings) -> bool:
    """A policy that trains in bfloat16 samples in it, unless it is told otherwise."""
    return settings.generation.arithmetic == "auto" and settings.trainer.bf16


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * GIGABYTE)


def _size(model: PreTrainedModel) -> int:
    """Parameters without those of an adapter: peers compare models, not how they are trained."""
    return sum(value.numel() for name, value in model.named_parameters() if "lora_" not in name)


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token that ends a completion: a model may name more of them than its tokenizer."""
    named = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *([] if named is None else [named] if isinstance(named, int) else named)}
