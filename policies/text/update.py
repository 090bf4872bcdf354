"""The choices of an `UpdateSpec`, applied to rows: which tokens train, and what their ratios are taken against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from policies.policy import Stale, UpdateSpec
from policies.text.batching import Row

# Log-probs of the rows' tokens under the policy as it is, row by row.
OwnLogprobs = Callable[[Sequence[Row]], list[list[float]]]


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

    asking = [row for row in rows if asks(row)]
    own = iter(own_logprobs(asking)) if asking else iter(())
    return [row.against(next(own)) if asks(row) else row for row in rows]
