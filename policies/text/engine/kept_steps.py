"""Captured steps that stay from one call to the next: their graphs read tables and weights where these lie.

So they hold as long as weights are changed in place, and as the tables that they were made for are large enough.
"""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel

from policies.text.engine.buckets import bucket, place_bucket, row_bucket
from policies.text.engine.cache import Table
from policies.text.engine.cuda_graphs import BucketedSteps, Capture, CudaGraphs
from policies.text.engine.decoder import Decoder
from policies.text.engine.memory_plan import Plan, free_bytes

# Of the free memory, what tables may take between calls, while the policy trains.
KEPT_SHARE = 1 / 8
WIDEST = 2  # times the prompts of a call: every step reads the whole width of the prompts' table


class KeptSteps:
    """Tables and steps of the last call. `capturing` makes what captures the steps of new tables."""

    def __init__(self, model: PreTrainedModel, capturing: Callable[[], Capture], *, fused: bool) -> None:
        """`fused`: see `Decoder`."""
        self._model = model
        self._capturing = capturing
        self._fused = fused
        self._capture: Capture | None = None
        self._made: tuple[Decoder, BucketedSteps] | None = None
        self._weights: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """What its tables and its graphs take."""
        tables = sum(table.bytes for table in self._made[0].tables) if self._made else 0
        return tables + (self._capture.bytes if self._capture else 0)

    def fitting(self, plan: Plan, slots: int) -> tuple[Decoder, BucketedSteps]:
        """Those of the last call where they fit this one, with empty tables; else new ones."""
        rows = bucket(min(plan.prompts, slots)), row_bucket(slots)
        prompt_width = place_bucket(plan.prompt_width)
        weights = tuple(weight.data_ptr() for weight in (*self._model.parameters(), *self._model.buffers()))
        if self._made is not None and weights == self._weights:
            prompts, rollouts = self._made[0].tables
            enough = prompts.rows >= rows[0] and rollouts.rows >= rows[1] and rollouts.width >= plan.width
            if enough and prompt_width <= prompts.width <= WIDEST * prompt_width:
                prompts.clear()
                rollouts.clear()
                return self._made
        self.drop()
        tables = Table(rows[0], prompt_width), Table(rows[1], plan.width)
        decoder = Decoder(self._model, *tables, fused=self._fused)
        self._capture = self._capturing()
        self._made, self._weights = (decoder, BucketedSteps(decoder, self._capture)), weights
        return self._made

    def settle(self, *, cast: bool) -> None:
        """After a call: what takes much of the free memory is given back, and graphs that read `cast` weights, which
        autocast holds no longer than a call."""
        if cast or self.bytes > KEPT_SHARE * free_bytes(self._model.device):
            self.drop()

    def drop(self) -> None:
        self._made = self._capture = None


def kept_steps(model: PreTrainedModel, *, fused: bool) -> KeptSteps | None:
    """None where steps are not captured."""
    return KeptSteps(model, CudaGraphs, fused=fused) if model.device.type == "cuda" else None
