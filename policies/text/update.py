"""The choices of an `UpdateSpec`, applied to rows: which tokens train, and what their ratios are taken against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from policies.policy import Stale, UpdateSpec
from policies.text.batching import Row

# Log-probs of the rows' tokens under the policy as it is, row by row.
OwnLogprobs = Callable[[Sequence[Row]], list[list[float]]]


def plausible(rows: Sequence[Row], floor: float, own_logprobs: OwnLogprobs) -> list[Row]:
    """`rows` in which tokens that a peer recommends and the own policy would hardly write are context only."""
    asking = [row for row in rows if floor > 0.0 and row.external and row.advantage > 0.0 and row.learns]
    if not asking:
        return list(rows)
    least = math.log(floor)
    own = dict(zip(map(id, asking), own_logprobs(asking), strict=True))
    return [row.skipping([p < least for p in own[id(row)]]) if id(row) in own else row for row in rows]


def settled(rows: Sequence[Row], spec: UpdateSpec, own_logprobs: OwnLogprobs) -> list[Row]:
    """`rows` with what all epochs of an update must agree on: which tokens train, and against what.

    Own log-probs are computed only where they matter: a single epoch takes a ratio of 1 where none are known.
    """
    rows = list(rows)
    if spec.stale is Stale.MASK:
        rows = [row.without_stale() for row in rows]
    elif spec.stale is Stale.RECOMPUTE:
        rows = [replace(row, logprobs=None) if row.stale and all(row.stale) else row for row in rows]

    def asks(row: Row) -> bool:
        if row.logprobs is None:
            return row.learns and spec.epochs > 1
        return row.learns and spec.stale is Stale.RECOMPUTE and row.stale is not None

    rows = plausible(rows, spec.external_floor, own_logprobs)
    asking = [row for row in rows if asks(row)]
    own = iter(own_logprobs(asking)) if asking else iter(())
    return [row.against(next(own)) if asks(row) else row for row in rows]
