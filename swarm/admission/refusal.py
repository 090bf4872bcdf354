"""Refusals of bodies and groups, each for one reason of a closed list.

`group_reader` and `rollout_verifier` decide; announcements have reasons of their own, in
`discovery/announcement_filter`.
"""

from __future__ import annotations

from enum import StrEnum


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
    HELD_OUT = "held_out"  # of a problem that is for evaluation alone
    TASK = "task"  # not one of the swarm's tasks
    LENGTH = "length"  # a text has more characters than this node's policy would write
    MEDIUM = "medium"  # text where the task asks for an image, or the reverse
    IMAGE = "image"  # not an image within bounds, or with more in it than pixels
    ENCODING = "encoding"  # a text that the own tokenizer cannot take, or not without control tokens
    WASTE = "waste"  # the rest of a body that cost more time than it brought, or was refused too often
    FAULT = "fault"  # a check itself failed on it; see the log


class Refusal(Exception):
    """Ends the checks on a body, group or rollout; becomes a Verdict, and never leaves `swarm.admission`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
