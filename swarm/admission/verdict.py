"""Verdicts on what peers sent: an outcome, and one reason from a closed list where it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    ACCEPTED = "accepted"  # may be trained on
    SET_ASIDE = "set_aside"  # passed every check, but all rewards are equal: nothing to learn from
    KNOWN = "known"  # its texts came from another peer before: counted once, and nobody is blamed
    UNUSABLE = "unusable"  # the own policy makes no such thing, or its verifier came to no end; not used
    REFUSED = "refused"


class Reason(StrEnum):
    """Why a body or group was refused. Closed: stores, dashboards and scripts match on the values."""

    SIZE = "size"  # not the announced size, or over the limit
    DIGEST = "digest"  # not the announced bytes
    DECODE = "decode"  # not a body: form, bounds, numbers, protocol version
    SWARM = "swarm"  # of another swarm
    SENDER = "sender"  # body and announcement name different peers
    SUMMARY = "summary"  # the announcement's counts or versions are not the body's
    REPLAY = "replay"  # this body, or this peer's group of this problem, was here before
    STALE = "stale"  # older than the maximum age
    FUTURE = "future"  # announced in the future, beyond the tolerated clock difference
    TASK = "task"  # not one of the swarm's tasks
    LENGTH = "length"  # a text has more characters than this node's policy would write
    MEDIUM = "medium"  # text where the task asks for an image, or the reverse
    IMAGE = "image"  # not an image within bounds, or with more in it than pixels
    ENCODING = "encoding"  # a text that the own tokenizer cannot take, or not without control tokens
    WASTE = "waste"  # the rest of a body that cost more time than it brought, or was refused too often
    FAULT = "fault"  # a check itself failed on it; see the log


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


class Refusal(Exception):
    """Ends the checks on a body, group or rollout; becomes a Verdict, and never leaves `swarm.admission`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
