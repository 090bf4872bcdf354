"""Verdicts on what peers sent: an outcome, and one reason where it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from swarm.admission.refusal import Reason


class Outcome(StrEnum):
    ACCEPTED = "accepted"  # may be trained on
    SET_ASIDE = "set_aside"  # passed every check, but all rewards are equal: nothing to learn from
    KNOWN = "known"  # its texts came from another peer before: counted once, and nobody is blamed
    UNUSABLE = "unusable"  # the own policy makes no such thing, or its verifier came to no end; not used
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one group, or of a whole body (then `task` is empty). Safe to print and to keep."""

    outcome: Outcome
    peer: str
    task: str = ""  # printable ASCII; the peer's word unless accepted or set aside
    seed: int | None = None
    rollouts: int = 0  # that were taken; of a refused group, that it had
    reason: Reason | None = None  # exactly when refused
    detail: str = ""  # one line of ours, free of the peer's text
    mean_reward: float | None = None  # recomputed; None when refused
    claim_mismatches: int = 0  # rollouts whose claimed reward differs from the recomputed one
    known: int = 0  # rollouts left out because another peer gave them before
    left_out: tuple[Reason, ...] = ()  # one a rollout of the group that could not be read; the rest was
    no_verdict: int = 0  # rollouts that the verifier came to no end with; left out likewise

    @property
    def label(self) -> str:
        """The counter that this verdict raises: accepted, set_aside, refused_<reason>."""
        return self.outcome.value if self.reason is None else f"refused_{self.reason.value}"

    @property
    def checked(self) -> bool:
        """The group passed every check: it counts as received."""
        return self.outcome in (Outcome.ACCEPTED, Outcome.SET_ASIDE, Outcome.KNOWN)

    @classmethod
    def refused(cls, peer: str, reason: Reason, detail: str) -> Verdict:
        return cls(Outcome.REFUSED, peer, reason=reason, detail=detail)
