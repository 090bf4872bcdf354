"""Told refusals: what peers left out of this node's bodies, as they say with their next fetch.

Extension 5 of a fetch request: `[[reason, rollouts], ...]`. It is the asking peer's word alone: it is counted and told
to the owner, and nothing else is made of it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgpack

from swarm.admission.refusal import Reason
from swarm.sampling.newcomer_places import IsKnown
from swarm.wire import fields
from swarm.wire.extensions import Extensions, Reserved

NO_REFUSALS: Mapping[str, int] = MappingProxyType({})

_REASONS = frozenset(reason.value for reason in Reason)
_MAX_REASONS = 32  # of one request: room for those of later releases
_MAX_REASON = 16  # characters
_MAX_ROLLOUTS = 2**20  # of one reason in one request
_ENOUGH = 8  # rollouts that known peers left out within _PERIOD, from which the owner is told
_PERIOD = 3600.0  # seconds


def encode_refused(refused: Mapping[str, int]) -> Extensions:
    """Rollouts that were left out, by reason, as they travel; nothing where there were none."""
    told = [[reason, min(count, _MAX_ROLLOUTS)] for reason, count in sorted(refused.items()) if count > 0]
    return ((Reserved.REFUSALS, msgpack.packb(told)),) if told else ()


def decode_refused(more: Extensions) -> dict[str, int]:
    """Reasons of a later release are passed over. Raises DecodeError."""
    raw = dict(more).get(Reserved.REFUSALS)
    if raw is None:
        return {}
    pairs = [
        fields.items(pair, 2, "refusal", least=2)
        for pair in fields.items(fields.unpack(raw), _MAX_REASONS, "refusals")
    ]
    told = {
        fields.text(reason, _MAX_REASON, "refusal: reason"): fields.integer(
            count, _MAX_ROLLOUTS, "refusal: rollouts", low=1
        )
        for reason, count in pairs
    }
    if len(told) < len(pairs):
        fields.refuse("refusals: a reason twice")
    return {reason: count for reason, count in told.items() if reason in _REASONS}


class ToldRefusals:
    """Of one node. Only peers that gave it something good have its owner told: others may say what they like."""

    def __init__(self, is_known: IsKnown, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters: Counter[str] = Counter()  # told_refused_<reason>: rollouts
        self._is_known, self._clock = is_known, clock
        self._recent: Counter[str] = Counter()
        self._since = clock()

    def note(self, peer: str, refused: Mapping[str, int]) -> None:
        self.counters.update({f"told_refused_{reason}": count for reason, count in refused.items()})
        if self._is_known(peer):
            self._forget()
            self._recent.update(refused)

    @property
    def warning(self) -> str:
        """For the owner; empty while few were left out."""
        self._forget()
        if self._recent.total() < _ENOUGH:
            return ""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self._recent.most_common())
        return (
            f"peers left out {self._recent.total()} rollouts of this node of late, as they say: {reasons}. What a "
            "reason means and what to do: docs/troubleshooting.md, Why a group was refused"
        )

    def _forget(self) -> None:
        if self._clock() >= self._since + _PERIOD:
            self._recent.clear()
            self._since = self._clock()
