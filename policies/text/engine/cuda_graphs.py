"""CUDA graphs of decode steps: the hundreds of small kernels of a step are launched as one.

A graph replays fixed shapes, so a step is padded up to a bucket: prompts and slots to powers of two, rows to powers
of two and from 64 on to multiples of 32, the completion places that are read to multiples of 64. Rows that fill a
bucket up compute beside the others and are cut off; they write into table rows that no rollout has.

All graphs take their memory from one pool, those of later calls too: the logits of one are read before the next is
replayed. Where a step cannot be captured it is run as it is, and told once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from policies.text.engine.attention import SlotGrid
from policies.text.engine.decoder import Decoder
from policies.text.engine.memory_plan import is_shortage
from policies.text.engine.probe import brief

logger = logging.getLogger(__name__)

PLACES = 64
ROWS = 32  # beyond twice as many, powers of two would leave up to half of the rows idle
# Graphs kept at once. A call meets few buckets: rows and prompts halve as it empties, places grow.
MOST_GRAPHS = 48


def bucket(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def row_bucket(rows: int) -> int:
    """Rows of the table, and of a step, that hold `rows`."""
    return bucket(rows) if rows <= 2 * ROWS else -(-rows // ROWS) * ROWS


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


class BucketedSteps:
    """A `Step` of few shapes. `capture` turns a pass over fixed buffers into a replay; see `cuda_graph`."""

    def __init__(self, decoder: Decoder, capture: Callable[[Replay], Replay]) -> None:
        self._decoder = decoder
        self._capture = capture
        self._eager = False  # once a capture failed
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
        width = min(-(-width // PLACES) * PLACES, self._decoder.rollouts.width)
        return Shape(padded, bucket(grid.prompts), bucket(grid.slots + idle_slot), width)

    def _captured(self, shape: Shape, buffers: Buffers) -> Replay:
        grid = SlotGrid(buffers.cells, buffers.prompt_lengths, shape.prompts, shape.slots)

        def step() -> torch.Tensor:
            return self._decoder.step(buffers.tokens, buffers.columns, grid, shape.width)

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

    def _keep(self, shape: Shape, buffers: Buffers, replay: Replay) -> None:
        """The graphs that were used last stay."""
        self._made[shape] = buffers, replay
        self._made.move_to_end(shape)
        if len(self._made) > MOST_GRAPHS:
            self._made.popitem(last=False)


@cache
def _pool() -> Any:
    """The one pool of this process's graphs."""
    return torch.cuda.graph_pool_handle()


def cuda_graph(run: Replay) -> Replay:
    """Captures `run` after two passes that warm its kernels up; the replay's result is overwritten by the next."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool()):
        out = run()

    def replay() -> torch.Tensor:
        graph.replay()
        return out

    return replay
