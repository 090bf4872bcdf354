"""What an `UpdateSpec` asks of a trainer of text: which tokens train, and what their ratios are taken against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from policies.policy import Stale, UpdateSpec
from policies.text.batching import Row

# Log-probs of the rows' tokens under the policy as it is, row by row.
OwnLogprobs = Callable[[Sequence[Row]], list[list[float]]]


def settled(rows: Sequence[Row], spec: UpdateSpec, own_logprobs: OwnLogprobs, highest: float) -> list[Row]:
    """`rows` with what all epochs of an update must agree on: which tokens train, and against what.

    Own log-probs are computed only where they matter: a single epoch takes a ratio of 1 where none are known.

    A peer's log-probs are believed up to where a ratio would exceed `highest`. PPO's minimum drops a token of positive
    advantage there, but lets one of negative advantage push the harder the larger its ratio is. That is sound for own
    log-probs, whose ratios start at 1. A peer that understates its own could multiply the push of its tokens; and one
    that does not would still have single tokens rule the step, since the two policies never were the same. Raised to
    own / `highest`, they push with a weight of `highest` at most, and of 0 at least, whatever was told. To drop
    them as well would lose the best warnings: what the own policy does more often than the peer.
    """
    rows = list(rows)
    if spec.stale is Stale.MASK:
        rows = [row.without_stale() for row in rows]
    elif spec.stale is Stale.RECOMPUTE:
        rows = [replace(row, logprobs=None) if row.stale and all(row.stale) else row for row in rows]

    def asks(row: Row) -> bool:
        if row.logprobs is None:
            return row.advantage != 0.0 and spec.epochs > 1
        if row.foreign:
            return row.advantage < 0.0
        return row.advantage != 0.0 and spec.stale is Stale.RECOMPUTE and row.stale is not None

    def answered(row: Row, own: Sequence[float]) -> Row:
        return row.bounded(own, highest) if row.foreign and row.logprobs else row.against(own)

    asking = [row for row in rows if asks(row)]
    own = iter(own_logprobs(asking)) if asking else iter(())
    return [answered(row, next(own)) if asks(row) else row for row in rows]
