"""The generation engine: many rollouts at once, each prompt computed once, finished rollouts replaced at once.

A decode loop over a plain transformers model, through its forward pass, its cache interface and its attention
interface. Token ids in, token ids and behaviour log-probs out.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TypeAlias

import torch
from transformers import PreTrainedModel

from policies.policy import PolicyError, Stop, never
from policies.text.engine import memory_plan, weights
from policies.text.engine.adapters import UnmergeableError, moved_adapters
from policies.text.engine.attention import UnsupportedError
from policies.text.engine.batch import AHEAD, Batch, Ended
from policies.text.engine.cache import Table
from policies.text.engine.decoder import Decoder
from policies.text.engine.fused_attention import can_fuse
from policies.text.engine.hf_fallback import GenerateFallback
from policies.text.engine.kept_steps import kept_steps
from policies.text.engine.lean_step import LeanModel
from policies.text.engine.packed import can_pack, packed_layers
from policies.text.engine.probe import (
    FOREIGN,
    brief,
    probe_copy,
    probe_engine,
    probe_fallback,
    probe_trained,
    shared_attention,
)
from policies.text.engine.request import Continuation, Request, Sampling
from policies.text.engine.weights import Arithmetic
from policies.text.engine.windows import exact_length, narrowed_windows

logger = logging.getLogger(__name__)

Figures: TypeAlias = dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class EngineProof:
    """How a working copy was found to be exact, by comparisons that a later start need not repeat."""

    packed: bool  # its weights lie as the processor's products read them
    lean: bool  # it takes the lean decode step
    fused: bool  # it attends by fused kernels
    token_bytes: int  # of one token's keys and values in all layers


class Engine:
    """Samples from one model whose weights may change between calls; call `refresh` after they did."""

    def __init__(  # noqa: PLR0913 - what an engine is made of
        self,
        model: PreTrainedModel,
        eos_ids: Collection[int],
        *,
        slots: int,
        memory_budget: int | None = None,
        arithmetic: Arithmetic = "auto",
        ended: Ended | None = None,
        proof: EngineProof | None = None,
    ) -> None:
        """`slots`: most rollouts at once. `memory_budget`: bytes beyond the weights; None: half of what is free.

        `ended`: what ends a completion beside `eos_ids`. `proof`: of this model, where it was compared before.
        """
        self.figures: Figures = {}
        self.refusal: str | None = None  # why it is `generate` that samples; None where it is not
        self._trained = model
        self._eos_ids = frozenset(eos_ids)
        self._ended = ended
        self._slots = slots
        self._budget = memory_budget
        self._dtype = weights.arithmetic_for(model, arithmetic)
        self._longest = exact_length(model)
        self._lean: LeanModel | None = None
        self._fused = False
        self._token_bytes = 0  # of keys and values; 0 where `generate` samples
        if proof is not None and weights.fits_copy(model, self._dtype):
            self._take(proof)
        else:
            self._compare()
        self._kept = kept_steps(self._model, fused=self._fused)
        self.refresh()

    @property
    def exact(self) -> bool:
        """Whether it computes in float32, so that its log-probs are those of a float32 trainer up to rounding."""
        return self._dtype == torch.float32

    @property
    def proof(self) -> EngineProof | None:
        """None where it is not a working copy that samples, by the engine's own steps."""
        if self._fallback is not None or self._model is self._trained:
            return None
        packed = any(True for _ in packed_layers(self._model))
        return EngineProof(packed, self._lean is not None, self._fused, self._token_bytes)

    @property
    def path(self) -> str:
        """What samples: `engine`, `generate`, or `one row`: generate on one rollout at a time."""
        if self._fallback is None:
            return "engine"
        return "generate" if self._fallback.padded else "one row"

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes over the trained model's present weights."""
        if self._model is not self._trained:
            weights.refresh(self._model, self._trained)

    def require_room(self, max_new_tokens: int) -> None:
        """Raises PolicyError, with the figures, when not one rollout of `max_new_tokens` fits into the budget.

        Groups of any size fit where one rollout does: they are sampled in waves. Raises it too where the model would
        rotate positions of so long a rollout otherwise in company.
        """
        memory_plan.plan(self._footprint, [1], [max_new_tokens], 1, self._room(), captured=self._captures)
        self._refuse_longer(1, max_new_tokens)

    def run(
        self, requests: Sequence[Request], sampling: Sampling = Sampling(), stop: Stop = never
    ) -> list[Continuation]:
        """One continuation a request, in order; UNFINISHED where `stop` ended the call first.

        Raises PolicyError with the figures when a rollout cannot fit into the budget.
        """
        _refuse_ended(requests)
        if not requests:
            return []
        for request in requests:
            self._refuse_longer(len(request.prompt_ids), request.max_new_tokens)
        budget = self._room()
        plan = self._plan(requests, budget)
        batch = Batch(requests, self._eos_ids, sampling, self._ended)
        meter = memory_plan.PeakMeter(self._model.device)
        with torch.no_grad(), self._autocast():
            if self._fallback:
                self._fallback.run(batch, plan.slots, stop)
            else:
                with shared_attention(self._model):
                    self._run(batch, plan, stop, meter)
        if self._kept is not None:
            self._kept.settle(cast=self._casts)
        meter.read()
        self.figures = {
            **asdict(batch.work),
            "slots": plan.slots,
            "planned_bytes": plan.bytes,
            "peak_bytes": meter.peak,
            "budget_bytes": budget,
            "arithmetic": str(self._dtype).removeprefix("torch."),
            "attention": "fused" if self._fused else "apart",
        }
        return [sequence.continuation() for sequence in batch.sequences]

    def _run(self, batch: Batch, plan: memory_plan.Plan, stop: Stop, meter: memory_plan.PeakMeter) -> None:
        slots = plan.slots
        self._install(batch, plan, slots)
        while batch.unfinished:
            try:
                batch.admit()
                if batch.running:
                    batch.step()
            except RuntimeError as error:
                slots = memory_plan.halved(slots, error)
                if self._kept is not None:
                    self._kept.drop()
                self._install(batch, plan, slots)
                memory_plan.release(self._model.device)
                continue
            meter.read()
            if stop(batch.take_finished()):
                break

    def _install(self, batch: Batch, plan: memory_plan.Plan, slots: int) -> None:
        """Empty tables; fresh ones take memory only as they are written."""
        if self._kept is not None:
            batch.install(*self._kept.fitting(plan, slots), slots, AHEAD)
            return
        prompts, rollouts = Table(min(plan.prompts, slots), plan.prompt_width), Table(slots, plan.width)
        decoder = Decoder(self._model, prompts, rollouts, self._lean, fused=self._fused)
        batch.install(decoder, decoder.step, slots)

    def _refuse_longer(self, prompt: int, completion: int) -> None:
        if self._longest is not None and prompt + completion > self._longest:
            raise PolicyError(
                f"a prompt of {prompt} tokens and {completion} new ones pass the {self._longest} up to which this "
                "model's positions do not depend on the longest rollout of a batch: lower generation.max_new_tokens"
            )

    def _room(self) -> int:
        kept = self._kept.bytes if self._kept is not None else 0
        free = memory_plan.free_bytes(self._model.device) + kept
        return self._budget or int(memory_plan.FREE_SHARE * free)

    def _plan(self, requests: Sequence[Request], budget: int) -> memory_plan.Plan:
        prompts = [len(ids) for ids in {request.prompt_ids for request in requests}]
        widths = [request.max_new_tokens for request in requests]
        if self._fallback:  # shares no prompt
            widths = [len(request.prompt_ids) + request.max_new_tokens for request in requests]
            prompts = [0]
        return memory_plan.plan(
            self._footprint, prompts, widths, self._slots, budget, captured=self._captures
        )

    def _take(self, proof: EngineProof) -> None:
        """The ways that were compared before, weights still to be taken over."""
        self._model = weights.working_copy(self._trained, self._dtype, packed=proof.packed)
        self._lean = LeanModel(self._model) if proof.lean else None
        self._fused = proof.fused
        self._token_bytes = proof.token_bytes
        self._footprint = memory_plan.Footprint.of(self._model, proof.token_bytes)
        self._fallback: GenerateFallback | None = None

    def _compare(self) -> None:
        """The best way that is exact. Raises PolicyError where none is."""
        with moved_adapters(self._trained):
            probe_trained(self._trained)
            self._model = self._own_or_trained()
            with narrowed_windows(self._model, self._trained), self._autocast():
                self._footprint, self._fallback = self._probed()

    def _own_or_trained(self) -> PreTrainedModel:
        """A working copy where there is room for one and it is exact, else the trained model itself."""
        if not weights.fits_copy(self._trained, self._dtype):
            logger.info(
                "no room for a working copy of the weights: sampling from the trained ones themselves"
            )
            return self._trained
        ways = (True, False) if can_pack(self._trained.device, self._dtype) else (False,)
        for packed in ways:
            try:
                return self._own(packed=packed)
            except (UnsupportedError, UnmergeableError, *FOREIGN) as error:
                what = "weights that lie as in the file" if packed else "the trained weights themselves"
                logger.warning("sampling from %s, as a copy is not exact: %s", what, brief(error))
        return self._trained

    def _own(self, *, packed: bool) -> PreTrainedModel:
        working = weights.working_copy(self._trained, self._dtype, packed=packed)
        weights.refresh(working, self._trained)
        with narrowed_windows(working, self._trained):
            probe_copy(working, self._trained)
        return working

    def _probed(self) -> tuple[memory_plan.Footprint, GenerateFallback | None]:
        """The engine, else `generate` on padded rows, else on one row at a time. Raises PolicyError beyond that."""
        try:
            self._lean, self._token_bytes = self._probed_steps()
            return memory_plan.Footprint.of(self._model, self._token_bytes), None
        except UnsupportedError as error:
            name, self.refusal = type(self._model).__name__, str(error)
            logger.warning("%s is sampled by transformers' generate, which is slower: %s", name, error)
        for padded in (True, False):
            fallback = GenerateFallback(self._model, padded=padded)
            try:
                probe_fallback(fallback, self._model, self._trained)
            except UnsupportedError as error:
                logger.warning("%s on %s: %s", name, "padded rows" if padded else "one row", error)
                refused = error
                continue
            return memory_plan.Footprint.guessed(self._model), fallback
        raise PolicyError(
            f"{name} cannot be sampled as it is trained ({refused}); choose another model, or another adapter"
        )

    def _probed_steps(self) -> tuple[LeanModel | None, int]:
        """The lean step where the model has its form and it is exact, and bytes of a token's keys and values.

        That only of a working copy on a CPU: on a GPU the steps of the general forward pass are captured as graphs,
        with fused attention where that is exact. Raises UnsupportedError where the general one is not exact either.
        """
        if can_fuse(self._model.device):
            try:
                token_bytes = probe_engine(self._model, self._trained, fused=True)
            except UnsupportedError as error:
                logger.info("rollouts attend by products apart: %s", error)
            else:
                self._fused = True
                return None, token_bytes
        if self._model is not self._trained and self._model.device.type == "cpu":
            try:
                lean = LeanModel(self._model)
                return lean, probe_engine(self._model, self._trained, lean)
            except (UnsupportedError, *FOREIGN) as error:
                logger.info("rollouts take the general decode step: %s", brief(error))
        return None, probe_engine(self._model, self._trained)

    @property
    def _captures(self) -> bool:
        return self._kept is not None and self._fallback is None

    @property
    def _casts(self) -> bool:
        """Only the trained weights themselves may be of another type than the arithmetic."""
        return self._dtype == torch.bfloat16 and self._model.dtype == torch.float32

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self._model.device.type, torch.bfloat16, enabled=self._casts)


def _refuse_ended(requests: Sequence[Request]) -> None:
    for request in requests:
        if not request.prompt_ids:
            raise ValueError("a request needs a prompt of at least one token")
        if len(request.begun_ids) >= request.max_new_tokens:
            raise ValueError(
                f"a request has {len(request.begun_ids)} of at most {request.max_new_tokens} tokens: it has ended"
            )
