"""The generation engine: many rollouts at once, each prompt computed once, finished rollouts replaced at once.

A decode loop over a plain transformers model, through its forward pass, its cache interface and its attention
interface. Token ids in, token ids and behaviour log-probs out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TypeAlias

import torch
from transformers import PreTrainedModel

from policies.policy import PolicyError, Stop, never
from policies.text.engine import memory_plan, weights
from policies.text.engine.batch import AHEAD, Batch, Ended
from policies.text.engine.cache import Table
from policies.text.engine.decoder import Decoder
from policies.text.engine.kept_steps import kept_steps
from policies.text.engine.packed import packed_layers
from policies.text.engine.probe import shared_attention
from policies.text.engine.request import Continuation, Request, Sampling
from policies.text.engine.ways import EngineProof, autocast, best_way, casts, proven_way
from policies.text.engine.weights import Arithmetic
from policies.text.engine.windows import exact_length

Figures: TypeAlias = dict[str, float | int | str]


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
        self._trained = model
        self._eos_ids = frozenset(eos_ids)
        self._ended = ended
        self._slots = slots
        self._budget = memory_budget
        self._longest = exact_length(model)
        dtype = weights.arithmetic_for(model, arithmetic)
        if proof is not None and weights.fits_copy(model, dtype):
            way = proven_way(model, dtype, proof)
        else:
            way = best_way(model, dtype)
        self._model, self._dtype, self._fallback = way.model, way.dtype, way.fallback
        self._lean, self._fused = way.lean, way.fused
        self._footprint = way.footprint
        self.refusal = way.refusal  # why it is `generate` that samples; None where it is not
        self.widened = way.widened  # why it computes in float32 where bfloat16 was wanted
        self._kept = kept_steps(self._model, fused=self._fused)
        self.refresh()

    @property
    def dtype(self) -> torch.dtype:
        """That it computes in."""
        return self._dtype

    @property
    def proof(self) -> EngineProof | None:
        """None where it is not a working copy that samples, in the type that was wanted, by the engine's own steps."""
        slower = self._fallback is not None or self.widened is not None
        if slower or self._model is self._trained:
            return None
        packed = any(True for _ in packed_layers(self._model))
        return EngineProof(packed, self._lean is not None, self._fused, self._footprint.token)

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
        with torch.no_grad(), autocast(self._model, self._dtype):
            if self._fallback:
                self._fallback.run(batch, plan.slots, stop)
            else:
                with shared_attention(self._model):
                    self._run(batch, plan, stop, meter)
        if self._kept is not None:
            self._kept.settle(cast=casts(self._model, self._dtype))
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

    @property
    def _captures(self) -> bool:
        return self._kept is not None and self._fallback is None


def _refuse_ended(requests: Sequence[Request]) -> None:
    for request in requests:
        if not request.prompt_ids:
            raise ValueError("a request needs a prompt of at least one token")
        if len(request.begun_ids) >= request.max_new_tokens:
            raise ValueError(
                f"a request has {len(request.begun_ids)} of at most {request.max_new_tokens} tokens: it has ended"
            )
