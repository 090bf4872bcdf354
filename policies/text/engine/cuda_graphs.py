"""CUDA graphs of decode steps: the hundreds of small kernels of a step are launched as one.

A graph replays fixed shapes, so a step is padded up to a bucket. Rows that fill a bucket up compute beside the others
and are cut off; they write into table rows that no rollout has.

All graphs of the same tables take their memory from one pool and leave their logits in one place: those of one are
read before the next is replayed. Where a step cannot be captured it is run as it is, and told once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from policies.error_words import brief
from policies.text.engine.attention import SlotGrid
from policies.text.engine.buckets import bucket, place_bucket, row_bucket
from policies.text.engine.decoder import Decoder
from policies.text.engine.memory_plan import is_shortage

logger = logging.getLogger(__name__)

# Graphs kept at once. A call meets few buckets: rows and prompts halve as it empties, places grow.
MOST_GRAPHS = 48


@dataclass(frozen=True, slots=True)
class Shape:
    """What one graph is made for."""

    rows: int
    prompts: int
    slots: int
    width: int


@dataclass(slots=True)
class Buffers:
    """Where a graph reads its input, all of (rows,)."""

    tokens: torch.Tensor
    columns: torch.Tensor
    cells: torch.Tensor
    prompt_lengths: torch.Tensor

    @classmethod
    def of(cls, rows: int, device: torch.device) -> Buffers:
        """Idle rows continue a prompt of one token at their first place."""
        tokens, columns, cells = (torch.zeros(rows, dtype=torch.long, device=device) for _ in range(3))
        return cls(tokens, columns, cells, torch.ones(rows, dtype=torch.long, device=device))


Replay = Callable[[], torch.Tensor]


class Capture(Protocol):
    """What turns passes over fixed buffers into replays of them."""

    @property
    def bytes(self) -> int:
        """Memory that the replays hold."""
        ...

    def __call__(self, run: Replay) -> Replay:
        """Raises RuntimeError for a pass that cannot be captured, or for a lack of memory."""
        ...


class BucketedSteps:
    """A `Step` of few shapes."""

    def __init__(self, decoder: Decoder, capture: Capture) -> None:
        self._decoder = decoder
        self._capture = capture
        self._eager = False  # once a capture failed
        self._logits: torch.Tensor | None = None  # (rows, V) of the last step
        self._made: OrderedDict[Shape, tuple[Buffers, Replay]] = OrderedDict()

    def __call__(
        self, tokens: torch.Tensor, columns: torch.Tensor, grid: SlotGrid, width: int
    ) -> torch.Tensor:
        n = len(tokens)
        shape = self._shape(n, grid, width)
        kept = self._made.get(shape)
        buffers = kept[0] if kept else Buffers.of(shape.rows, self._decoder.device)
        # Idle rows sit in the last slot of the first prompt, which is nobody's.
        buffers.cells.fill_(shape.slots - 1)
        buffers.cells[:n] = grid.cells // grid.slots * shape.slots + grid.cells % grid.slots
        buffers.tokens[:n] = tokens
        buffers.columns.zero_()
        buffers.columns[:n] = columns
        buffers.prompt_lengths[:n] = grid.prompt_lengths
        # Captured only now: the passes that warm it up write into the tables, and must write what belongs there.
        replay = kept[1] if kept else self._captured(shape, buffers)
        self._keep(shape, buffers, replay)
        return replay()[:n]

    def _shape(self, rows: int, grid: SlotGrid, width: int) -> Shape:
        padded = row_bucket(rows)
        idle_slot = 1 if padded > rows else 0
        width = min(place_bucket(width), self._decoder.rollouts.width)
        return Shape(padded, bucket(grid.prompts), bucket(grid.slots + idle_slot), width)

    def _captured(self, shape: Shape, buffers: Buffers) -> Replay:
        grid = SlotGrid(buffers.cells, buffers.prompt_lengths, shape.prompts, shape.slots)

        def step() -> torch.Tensor:
            return self._kept(self._decoder.step(buffers.tokens, buffers.columns, grid, shape.width))

        if self._eager:
            return step
        try:
            return self._capture(step)
        except RuntimeError as error:
            if is_shortage(error):  # fewer rows at once are tried
                raise
            logger.warning(
                "decode steps are not captured as CUDA graphs, and are slower for it: %s", brief(error)
            )
            self._eager = True
            return step

    def _kept(self, logits: torch.Tensor) -> torch.Tensor:
        """The same numbers where all steps leave theirs: a graph's own would stay in the pool as long as the graph."""
        if self._logits is None:  # a pass that warms up makes it, outside of the pool
            self._logits = logits.new_empty(self._decoder.rollouts.rows, logits.shape[1])
        return self._logits[: len(logits)].copy_(logits)

    def _keep(self, shape: Shape, buffers: Buffers, replay: Replay) -> None:
        """The graphs that were used last stay."""
        self._made[shape] = buffers, replay
        self._made.move_to_end(shape)
        if len(self._made) > MOST_GRAPHS:
            self._made.popitem(last=False)


class CudaGraphs:
    """Captures passes as graphs that share one pool, which is free again when the last of them is gone."""

    def __init__(self) -> None:
        # A pool without graphs cannot be captured into again: every set of tables has its own.
        self._pool: Any = torch.cuda.graph_pool_handle()
        self.bytes = 0  # of the device, what the captures took

    def __call__(self, run: Replay) -> Replay:
        """Captures `run` after two passes that warm its kernels up; a replay's result is overwritten by the next."""
        current = torch.cuda.current_stream()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            run()
            run()
        current.wait_stream(stream)
        torch.cuda.empty_cache()
        before = torch.cuda.mem_get_info()[0]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                out = run()
        except BaseException:
            torch.cuda.set_stream(current)  # torch leaves it on the stream of a capture that did not end
            raise
        self.bytes += max(0, before - torch.cuda.mem_get_info()[0])

        def replay() -> torch.Tensor:
            graph.replay()
            return out

        return replay
