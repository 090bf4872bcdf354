"""The text policy: a causal language model that samples, learns and is saved; see `policies.policy.Policy`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from policies.direction import Direction
from policies.policy import PolicyError, RolloutRequest, Stop, UpdateReport, UpdateSpec, never
from policies.progress import read_progress, save_progress
from policies.rollout import Finish, Problem, Rollout, Segment, TrainGroup
from policies.text import agreement, heap
from policies.text import model as models
from policies.text.arithmetic import has_bfloat16
from policies.text.batching import Row, rows_of
from policies.text.chat.turn_ends import complete_tokenizer, generation_ends
from policies.text.encoding import Encoding
from policies.text.engine import Continuation, Engine, EngineProof, Request, Sampling
from policies.text.loading import fitness
from policies.text.loading.companions import save_companions
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.weights import load_weights, parameters_of, plain_model, save_weights
from policies.text.proof import Proof, Proofs
from policies.text.scoring import TrainerProof
from policies.text.settings import WEIGHTS_FOLDER, GenerationSettings, ModelSettings, TextSettings
from policies.text.token_budget import ModelSize, by_card, card_bytes
from policies.text.trainer import GroupTrainer, NothingToTrainError

OTHER_CHECKPOINT = "resume from another checkpoint"


class TextPolicy:
    """See `policies.policy.Policy`. Owns `model`: TRL patches its forward, its weights change in place."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        settings: TextSettings,
        *,
        seed: int = 0,
        proofs: Path | None = None,
    ) -> None:
        """`proofs`: folder with what comparisons of models have shown; None compares, and keeps nothing.

        Raises PolicyError, with what to change, for a model that cannot be prompted, sampled or trained.
        """
        base = plain_model(model)
        settings = settings.settled(bfloat16=has_bfloat16(base.device))
        settings = by_card(settings, ModelSize.of_model(base), card_bytes(base.device))
        self._settings = settings
        generation = settings.generation
        self._model = model
        self._tokenizer = tokenizer
        self._encoding = Encoding(
            tokenizer,
            settings.prompt,
            generation.external_cap,
            generation_eos=generation_ends(base),
            vocabulary=fitness.embedding_rows(base),
        )
        self._context = fitness.context_length(base)
        self._generation = generation
        self._prompt = settings.prompt
        complete_tokenizer(tokenizer, self._encoding.ends.taught, fitness.embedding_rows(base))
        prompt = [*self._encoding.prompt("1 + 1 = ?"), self._encoding.ends.taught]
        fitness.check_context(self._context, len(prompt) - 1, generation.max_new_tokens)
        if generation.max_external_tokens is not None:
            cap = generation.max_external_tokens
            fitness.check_context(self._context, len(prompt) - 1, cap, "max_external_tokens")
        self._proofs = Proofs(proofs, model, settings) if proofs else None
        proof = self._proofs.read() if self._proofs else None
        fitness.check_fitness(base, model, tokenizer, prompt, proven=proof is not None)
        self._trainer = self._new_trainer(seed, proof.trainer if proof else None)
        self._engine = self._new_engine(proof.engine if proof else None)
        self._trainer.rounding = agreement.expected_rounding(base, self._engine.dtype, settings)
        if self._proofs and proof is None:
            self._proofs.keep(Proof(self._engine.proof, self._trainer.proof))
        self._engine.require_room(generation.max_new_tokens)
        self._engine_is_behind = False  # its copy of the weights is older than the policy's
        self._version = 0
        fingerprint = f"{base.config.model_type}-{parameters_of(base)}-{self._encoding.fingerprint}"
        self._fingerprint = fingerprint[-64:]

    def _new_trainer(self, seed: int, proof: TrainerProof | None) -> GroupTrainer:
        base = plain_model(self._model)
        with as_policy_error(f"{type(base).__name__} cannot be trained", "choose another model"):
            return GroupTrainer(
                self._model,
                self._tokenizer,
                self._settings.trainer,
                self._generation.temperature,
                seed,
                proof=proof,
            )

    def _new_engine(self, proof: EngineProof | None) -> Engine:
        base = plain_model(self._model)
        with as_policy_error(f"{type(base).__name__} cannot be sampled from", "choose another model"):
            return Engine(
                base,
                self._encoding.ends.stops,
                slots=self._generation.slots,
                memory_budget=self._generation.memory_bytes,
                arithmetic=self._settings.arithmetic,
                ended=self._encoding.stop_strings.ended if self._encoding.stop_strings else None,
                proof=proof,
            )

    @classmethod
    def from_settings(
        cls,
        model: ModelSettings,
        settings: TextSettings,
        device: torch.device,
        seed: int = 0,
        proofs: Path | None = None,
    ) -> TextPolicy:
        """Loads the model and its tokenizer. Raises PolicyError with the fix when it cannot be had."""
        loaded, tokenizer = models.load(model, device, seed)
        return cls(loaded, tokenizer, in_words(settings), seed=seed, proofs=proofs)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._encoding.notes, *self._fallbacks())

    def _fallbacks(self) -> tuple[str, ...]:
        """What takes a slower way than it might, why, and what that costs."""
        notes = []
        if self._engine.refusal is not None:
            each = "" if self._engine.path == "generate" else ", one rollout at a time"
            notes.append(
                f"rollouts are sampled by transformers' generate{each}: {self._engine.refusal}. Each rollout computes "
                "its prompt anew and waits for the longest beside it: about half the engine's speed or less"
            )
        if self._engine.widened is not None:
            notes.append(
                f"rollouts are sampled in float32: in bfloat16 {self._engine.widened}. That takes up to twice the "
                "time and the memory of a copy in bfloat16; policy.generation.arithmetic = 'float32' says the same and "
                "spares every start the comparison"
            )
        refusal = self._trainer.refusal
        if refusal is not None and not self._settings.trainer.gradient_checkpointing:
            notes.append(
                f"updates take TRL's own step: {refusal}. It computes a prompt once for every rollout behind it: "
                "1.6 to 6 times the time at prompts of 57 to 400 tokens"
            )
        if self._trainer.path.endswith("one row"):
            notes.append("updates train one rollout at a time, as padding changes what this model computes")
        return tuple(notes)

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
        prompts = self._prompts({request.problem for request in requests})
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

    def fit(self, text: str, finish: Finish) -> tuple[str, Finish]:
        return self._encoding.fit(text, finish)

    def check_prompts(self, problems: Iterable[Problem]) -> None:
        """Raises PolicyError, with the number to set, where a prompt is too long to be taken, and is not skipped."""
        if self._prompt.too_long == "skip":
            problems = [problem for problem in problems if self.takes(problem)]
        longest = max((len(ids) for ids in self._prompts(problems).values()), default=0)
        cap = self._prompt.max_tokens
        if cap is not None and longest > cap:
            raise PolicyError(
                f"a prompt has {longest} tokens, and policy.prompt.max_tokens is {cap}: raise it, shorten system "
                "message, examples or template, or set policy.prompt.too_long = 'skip' to draw others in place of such"
            )

    def takes(self, problem: Problem) -> bool:
        """False for a problem that the settings say to skip: its prompt is too long for them, or for the context."""
        if self._prompt.too_long != "skip":
            return True
        room = [] if self._context is None else [self._context - self._generation.max_new_tokens]
        if self._prompt.max_tokens is not None:
            room.append(self._prompt.max_tokens)
        return not room or len(self._encoding.problem_prompt(problem)) <= min(room)

    def update(self, batch: Sequence[TrainGroup], spec: UpdateSpec = UpdateSpec()) -> UpdateReport | None:
        rows = self._rows(batch)
        device = plain_model(self._model).device
        heap.trim(device)
        try:
            step = self._trainer.step(rows, spec)
        except NothingToTrainError:
            return None
        finally:
            heap.trim(device)
        self._engine_is_behind = True
        if self._proofs and (found := step.accumulated.agreement) and found.off:
            self._proofs.forget()
        if step.learning_rate > 0:  # zero at the first update of a warmup
            self._version += 1
        return UpdateReport(
            loss=step.accumulated.loss,
            grad_norm=step.grad_norm,
            learning_rate=step.learning_rate,
            entropy=step.accumulated.entropy,
            kl=step.accumulated.kl,
            clipped_share=step.accumulated.clipped_share,
            rollouts=len(rows),
            tokens=step.accumulated.tokens,
            micro_batches=step.accumulated.micro_batches,
            agreement=step.accumulated.agreement,
            shortage=step.shortage,
            implausible=step.implausible,
            peak_bytes=step.peak_bytes,
        )

    def directions(self, groups: Sequence[TrainGroup]) -> list[Direction | None]:
        return self._trainer.directions([self._rows([group]) for group in groups])

    def save(self, folder: Path) -> None:
        """The weights lie in a folder of their own, a Hugging Face model or adapter with its tokenizer.

        Random state needs no file: every draw derives from the seed and the number of updates.

        Raises PolicyError where the disk is full or the folder cannot be written.
        """
        weights = folder / WEIGHTS_FOLDER
        save_weights(self._model, weights)
        save_companions(plain_model(self._model), self._tokenizer, self._encoding.ends, weights)
        with as_policy_error(f"cannot write {folder}"):
            save_progress(folder, self._trainer.progress(), self._version, self._fingerprint)

    def load(self, folder: Path) -> None:
        """Raises PolicyError when `folder` holds no complete save of a policy of this fingerprint."""
        progress, version = read_progress(folder, self._fingerprint)
        load_weights(self._model, folder / WEIGHTS_FOLDER)
        with as_policy_error(f"{folder} holds another optimiser's state", OTHER_CHECKPOINT):
            self._trainer.resume(progress)
        self._version = version
        self._engine_is_behind = True

    def _rollout(self, request: RolloutRequest, continuation: Continuation) -> Rollout:
        segments = request.begun.segments if request.begun else ()
        if continuation.token_ids:
            new = Segment(self._version, continuation.token_ids, continuation.logprobs)
            segments = _extended(segments, new)
        ids = [token for segment in segments for token in segment.token_ids]
        return Rollout(self._encoding.decode(ids, continuation.finish), segments, continuation.finish)

    def _prompts(self, problems: Iterable[Problem]) -> dict[Problem, tuple[int, ...]]:
        """Token ids of each problem's prompt. Raises PolicyError where a rollout of one may exceed the context."""
        prompts = {problem: self._encoding.problem_prompt(problem) for problem in problems}
        longest = max(map(len, prompts.values()), default=0)
        fitness.check_context(self._context, longest, self._generation.max_new_tokens)
        return prompts

    def _rows(self, batch: Sequence[TrainGroup]) -> list[Row]:
        masked = self._settings.trainer.mask_truncated
        rows = rows_of(batch, self._encoding.problem_prompt, self._version, mask_truncated=masked)
        return [row for row in rows if self._takes(row)]

    def _takes(self, row: Row) -> bool:
        """False for a peer's rollout that does not fit into the context behind this policy's prompt."""
        return self._context is None or len(row.prompt_ids) + len(row.token_ids) <= self._context


def in_words(settings: TextSettings) -> TextSettings:
    """The settings of a language model: where they do not say otherwise it reads problems in words."""
    if settings.prompt.wording != "auto":
        return settings
    return settings.model_copy(update={"prompt": settings.prompt.model_copy(update={"wording": "words"})})


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
