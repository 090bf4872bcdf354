"""Rows and checks of `murmur bench attacks`: honest delivery before, during and after each attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node.bench.kit.report import Check, Row
from swarm.network.dial_budget import OF_HOST

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
    cores_before: float = 0.0  # processor seconds a second of all honest transports
    cores_during: float = 0.0
    hostile_cores: float = 0.0  # of the attacker
    # The end of the peace that counts, where nodes are ended and started after it.
    calm_until: float | None = None
    # Nodes that joined through the attacker; where there are any, they alone count.
    joiners: tuple[str, ...] = ()
    # Connections that one honest node opened to a stranger's address, a minute.
    dials: float | None = None
    counted: Mapping[str, int] = field(default_factory=dict)  # by the honest transports during the attack

    @property
    def before(self) -> float:
        """Groups a minute that arrived at honest nodes from honest nodes."""
        return self._rate(self.begun, self._calm)

    @property
    def _calm(self) -> float:
        return self.struck if self.calm_until is None else self.calm_until

    @property
    def during(self) -> float:
        """The same under attack, from SETTLING seconds after its start."""
        return self._rate(min(self.struck + SETTLING, self.ended), self.ended)

    @property
    def after(self) -> float:
        return self._rate(self.ended, self.over)

    @property
    def kept(self) -> float:
        """Delivery during the attack over that before it; 0 where there was none before.

        With joiners: what the worst of them gets of those who did not join anew, over what these got of as many before.
        """
        if not self.before:
            return 0.0
        return min(map(self._joined, self.joiners)) if self.joiners else self.during / self.before

    def _joined(self, joiner: str) -> float:
        stayed = self._nodes - set(self.joiners)
        return self._got({joiner}, stayed) / (self._usual * len(stayed))

    @property
    def _stayed(self) -> float:
        """The same of those who did not join anew, among themselves: a crowded machine takes of them too."""
        stayed = self._nodes - set(self.joiners)
        return self._got(stayed, stayed) / max(1e-9, self._usual * len(stayed) * (len(stayed) - 1))

    @property
    def _nodes(self) -> set[str]:
        return {d.receiver for d in self.deliveries if self.begun <= d.at < self._calm}

    @property
    def _usual(self) -> float:
        """Groups a minute of one sender at one receiver, in peace."""
        return self.before / len(self._nodes) / max(1, len(self._nodes) - 1)

    def _got(self, receivers: set[str], senders: set[str]) -> float:
        """Groups a minute under attack, of these at those."""
        got = [d for d in self.deliveries if d.receiver in receivers and d.sender in senders]
        return self._rate(min(self.struck + SETTLING, self.ended), self.ended, got)

    def _told_of_joiners(self) -> str:
        if not self.joiners:
            return ""
        each = [f"{name} {self._joined(name):.2f}" for name in self.joiners]
        return ", ".join([*each, f"the others {self._stayed:.2f}"])

    def row(self) -> Row:
        count = len({d.receiver for d in self.deliveries if self.struck + SETTLING <= d.at < self.ended})
        published = sum(self.struck + SETTLING <= at < self.ended for at in self.published)
        return {
            "case": self.case,
            "before": self.before,
            "during": self.during,
            "after": self.after,
            "kept": self.kept,
            "joiners": self._told_of_joiners(),
            "attack_s": round(self.ended - self.struck, 1),
            "receivers": count,
            "published": published,
            "dials": self.dials,
            "cores_before": round(self.cores_before, 2),
            "cores_during": round(self.cores_during, 2),
            "attacker_cores": round(self.hostile_cores, 2),
            "counted": ", ".join(f"{number} {what}" for what, number in sorted(self.counted.items())),
            "attacker": ", ".join(f"{number} {what}" for what, number in sorted(self.hostile.items())),
        }

    def _rate(self, start: float, end: float, deliveries: Sequence[Delivery] | None = None) -> float:
        if end <= start:
            return math.nan
        counted = self.deliveries if deliveries is None else deliveries
        return 60.0 * sum(start <= delivery.at < end for delivery in counted) / (end - start)


def checks(outcomes: Sequence[AttackOutcome]) -> list[Check]:
    """One a case: the share of honest delivery left under attack; and the dials at a stranger's address."""
    kept = [Check.of(outcome.case, [outcome.kept], floor=DELIVERED) for outcome in outcomes]
    dialled = [outcome for outcome in outcomes if outcome.dials is not None]
    return kept + [Check.of(f"{o.case}_dials", [o.dials or 0.0], ceiling=OF_HOST) for o in dialled]
