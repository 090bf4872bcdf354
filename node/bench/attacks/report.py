"""Rows and checks of `murmur bench attacks`: honest delivery before, during and after each attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.bench.kit.report import Check, Row

SETTLING = 30.0  # seconds of an attack that are not counted: what it does at last is what matters
DELIVERED = 0.9  # of what was delivered before


@dataclass(frozen=True, slots=True)
class Delivery:
    """A group of an honest node that passed every check at another one."""

    at: float  # Unix seconds
    receiver: str
    sender: str


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """One case as it went: peace from `begun`, the attack from `struck` to `ended`, peace again to `over`."""

    case: str
    begun: float
    struck: float
    ended: float
    over: float
    deliveries: Sequence[Delivery]  # between honest nodes only
    published: Sequence[float]  # when an honest node published, Unix seconds
    hostile: Mapping[str, int]  # what the attacker says that it did

    @property
    def before(self) -> float:
        """Groups a minute that arrived at honest nodes from honest nodes."""
        return self._rate(self.begun, self.struck)

    @property
    def during(self) -> float:
        """The same under attack, from SETTLING seconds after its start."""
        return self._rate(min(self.struck + SETTLING, self.ended), self.ended)

    @property
    def after(self) -> float:
        return self._rate(self.ended, self.over)

    @property
    def kept(self) -> float:
        """Delivery during the attack over that before it; 0 where there was none before."""
        return self.during / self.before if self.before else 0.0

    def row(self) -> Row:
        count = len({d.receiver for d in self.deliveries if self.struck + SETTLING <= d.at < self.ended})
        published = sum(self.struck + SETTLING <= at < self.ended for at in self.published)
        return {
            "case": self.case,
            "before": self.before,
            "during": self.during,
            "after": self.after,
            "kept": self.kept,
            "attack_s": round(self.ended - self.struck, 1),
            "receivers": count,
            "published": published,
            "attacker": ", ".join(f"{number} {what}" for what, number in sorted(self.hostile.items())),
        }

    def _rate(self, start: float, end: float) -> float:
        if end <= start:
            return math.nan
        return 60.0 * sum(start <= delivery.at < end for delivery in self.deliveries) / (end - start)


def checks(outcomes: Sequence[AttackOutcome]) -> list[Check]:
    """One a case: the share of honest delivery that is left under attack."""
    return [Check.of(outcome.case, [outcome.kept], floor=DELIVERED) for outcome in outcomes]
