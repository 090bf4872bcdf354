"""The clock watch compares this machine's clock with those of peers, by what they answer and what they announce."""

from __future__ import annotations

import logging
import math
import re
from collections import OrderedDict
from statistics import median

log = logging.getLogger(__name__)

# hivemind takes nobody into its DHT who is further off; announcements are refused from CLOCK_SKEW on.
MOST = 3.0  # seconds
_REMEMBERED = 64  # peers
# What hivemind raises when a peer that is asked to let this node in has another time.
_HIVEMIND = re.compile(r"local: ([0-9.]+), peer: ([0-9.]+)")
_FIX = "set the clock by the network (timedatectl set-ntp true; on macOS: sntp -sS time.apple.com)"


class ClockWatch:
    """Offsets in seconds: positive where a peer's clock is ahead of this machine's."""

    def __init__(self) -> None:
        self._offsets: OrderedDict[str, float] = OrderedDict()  # by peer, newest last
        self._warned = False

    @property
    def offset(self) -> float | None:
        """The median over peers; None before any answered."""
        return median(self._offsets.values()) if self._offsets else None

    @property
    def peers(self) -> int:
        return len(self._offsets)

    def note(self, peer: str, offset: float) -> None:
        """The clock of `peer` is `offset` seconds ahead, as far as its answer tells; no number tells nothing."""
        if not math.isfinite(offset):
            return
        self._offsets[peer] = offset
        self._offsets.move_to_end(peer)
        if len(self._offsets) > _REMEMBERED:
            self._offsets.popitem(last=False)
        if self.warning and not self._warned:
            self._warned = True
            log.warning("%s", self.warning)

    @property
    def warning(self) -> str:
        """What is wrong, and what to do; empty while no clock is off."""
        off = {peer: offset for peer, offset in self._offsets.items() if abs(offset) > MOST}
        if not off:
            return ""
        own = 2 * len(off) > len(
            self._offsets
        )  # most of the others agree with each other, or there is but one
        furthest = max(off, key=lambda peer: abs(off[peer]))
        if own and len(self._offsets) > 1:
            return (
                f"{describe(median(off.values()))} those of {len(off)} of {len(self._offsets)} peers: {_FIX}"
            )
        return (
            f"{describe(off[furthest])} that of peer {furthest}, which may be the one that is off: {_FIX} on both. "
            "Neither hears the other while they differ"
        )


def describe(offset: float) -> str:
    """`offset` of others' clocks against this machine's, as the start of a sentence."""
    return f"this machine's clock is {abs(offset):.1f} s {'behind' if offset > 0 else 'ahead of'}"


def clock_refusal(error: str) -> str | None:
    """Words for a join that hivemind refused because of the clock, None for another error."""
    found = _HIVEMIND.search(error)
    if not found:
        return None
    offset = float(found[2]) - float(found[1])
    return (
        f"{describe(offset)} that of the peer that it joins through, and at most {MOST:g} s are taken: {_FIX}; "
        "if it is right, set the other machine's"
    )
