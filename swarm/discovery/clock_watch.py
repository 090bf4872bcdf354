"""The clock watch tells of clocks that are off: this machine's, or those of peers.

It compares this machine's clock with those of peers, by what they answer and what they announce, and with its own
steady count of seconds: a clock that is set while a node runs is noticed before a peer has answered.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

from swarm.limits import CLOCK_SKEW
from swarm.newest_kept import set_newest

log = logging.getLogger(__name__)

# hivemind takes nobody into its DHT who is further off; announcements are refused from CLOCK_SKEW on.
MAX_OFFSET = 3.0  # seconds
_REMEMBERED = 64  # peers
# Announcements in a row, none of them in time, from which it is said: a single one may have been late on its way.
_IN_A_ROW = 8
# Seconds for which a peer that was ahead, or behind, counts as that at least: nobody makes the warning come and go.
_SETTLED = 60.0
# What hivemind raises when a peer that is asked to let this node in has another time.
_HIVEMIND = re.compile(r"local: ([0-9.]+), peer: ([0-9.]+)")
_FIX = "set the clock by the network (timedatectl set-ntp true; on macOS: sntp -sS time.apple.com)"
_ALL_REFUSED = (
    "all that peers announced of late was refused, as expired or made in the future: this machine's clock or theirs is "
    f"off; {_FIX}"
)
Trouble = Literal["set", "differs", "refused"]


def wall_seconds() -> float:
    """Unix seconds."""
    return time.time()


def steady_seconds() -> float:
    """Seconds that no setting of the clock changes; those of a sleeping machine count."""
    # Linux halts its monotonic clock for a sleep, and a laptop that wakes up has not set its clock.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class _Lead:
    """How far a peer's clock is ahead of this machine's steady count, and at which of its seconds that was noted."""

    seconds: float
    noted: float
    at_least: bool  # told by an announcement, which was made some time before it came

    def against(self, own: float) -> float:
        offset = self.seconds - own
        return max(0.0, offset) if self.at_least else offset


class ClockWatch:
    """Offsets in seconds: positive where a peer's clock is ahead of this machine's."""

    def __init__(
        self, wall: Callable[[], float] = wall_seconds, steady: Callable[[], float] = steady_seconds
    ) -> None:
        self._wall, self._steady = wall, steady
        self._right = self._lead  # as far as is known
        self._leads: OrderedDict[str, _Lead] = OrderedDict()  # by peer, newest last
        self._out_of_time = 0  # announcements since the last one in time
        self._told: Trouble | None = None

    @property
    def _lead(self) -> float:
        """Seconds that this machine's clock is ahead of its steady count."""
        return self._wall() - self._steady()

    @property
    def _offsets(self) -> dict[str, float]:
        own = self._lead
        return {peer: lead.against(own) for peer, lead in self._leads.items()}

    @property
    def offset(self) -> float | None:
        """The median over peers; None before any answered."""
        return median(self._offsets.values()) if self._leads else None

    @property
    def peers(self) -> int:
        return len(self._leads)

    def note(self, peer: str, offset: float, *, at_least: bool = False) -> None:
        """The clock of `peer` is `offset` seconds ahead, or `at_least` so many; no number tells nothing."""
        if not math.isfinite(offset):
            return
        set_newest(self._leads, peer, _Lead(self._lead + offset, self._steady(), at_least), _REMEMBERED)
        if abs(offset) <= MAX_OFFSET and abs(self.offset or 0.0) <= MAX_OFFSET:
            self._right = self._lead  # whoever set it: it agrees with peers
        self.look()

    def note_announced(self, peer: str, created: float, *, in_time: bool) -> None:
        """An announcement of `peer` came, made at `created` by its clock; `in_time` unless it expired or lies ahead."""
        self._out_of_time = 0 if in_time else self._out_of_time + 1
        if not in_time or peer not in self._leads:
            return
        lead = self._leads[peer]
        ahead, made = lead.against(self._lead), created - self._lead
        # What is still behind cannot have made anything as late as this; what is still ahead is never in time.
        was_behind = ahead < 0 and made > self._steady() + ahead + CLOCK_SKEW
        if (was_behind or ahead > CLOCK_SKEW) and made > lead.noted + _SETTLED:
            del self._leads[peer]  # it was set since

    def look(self) -> bool:
        """Tells the log what has begun or ended since the last look. Whether anything has."""
        trouble, told = self._trouble, self._told
        self._told = trouble
        if trouble and trouble != told:
            log.warning("%s", self.warning)
        elif told and not trouble:
            log.warning("no clock is off any more, as far as this node can tell")
        return trouble != told

    @property
    def warning(self) -> str:
        """What is wrong, and what to do; empty while no clock is off."""
        match self._trouble:
            case "set":
                return self._set_words()
            case "differs":
                return self._peers_words()
            case "refused":
                return _ALL_REFUSED
        return ""

    @property
    def _trouble(self) -> Trouble | None:
        if abs(self._lead - self._right) > CLOCK_SKEW:
            return "set"
        if any(abs(offset) > MAX_OFFSET for offset in self._offsets.values()):
            return "differs"
        return "refused" if self._out_of_time >= _IN_A_ROW else None

    def _set_words(self) -> str:
        moved = self._lead - self._right
        return (
            f"this machine's clock was set {'forward' if moved > 0 else 'back'} by {abs(moved):.0f} s while this node "
            f"ran. Where it is wrong now, peers and this node refuse what the other announces: {_FIX}"
        )

    def _peers_words(self) -> str:
        offsets = self._offsets
        off = {peer: offset for peer, offset in offsets.items() if abs(offset) > MAX_OFFSET}
        own = 2 * len(off) > len(offsets)  # most of the others agree with each other, or there is but one
        furthest = max(off, key=lambda peer: abs(off[peer]))
        if own and len(offsets) > 1:
            return f"{describe(median(off.values()))} those of {len(off)} of {len(offsets)} peers: {_FIX}"
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
        f"{describe(offset)} that of the peer that it joins through, and at most {MAX_OFFSET:g} s are taken: {_FIX}; "
        "if it is right, set the other machine's"
    )
