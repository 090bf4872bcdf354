"""The announcement filter checks DHT records and announcements that ride on fetches, by one set of rules."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import StrEnum

from swarm.errors import DecodeError, OtherVersion
from swarm.limits import CLOCK_SKEW, MAX_LIFETIME
from swarm.newest_kept import set_newest
from swarm.wire.announcement import Announcement, epoch_of, shard_of
from swarm.wire.manifest import Manifest
from swarm.wire.membership import admits

log = logging.getLogger(__name__)

_REMEMBERED = 16_384  # digests of verified announcements, about 2 MB; a signature check costs 0.2 ms


class AnnouncementReason(StrEnum):
    """Why an announcement was refused. Closed: counters, dashboards and scripts match on the values."""

    VERSION = "version"  # of another version of the protocol
    MALFORMED = "malformed"  # not an announcement: form, bounds, numbers
    SWARM = "swarm"  # of another swarm, or of another number of shards
    FUTURE = "future"  # made in the future, beyond the tolerated clock difference
    LIFETIME = "lifetime"  # it expires before it was made, or too late
    EPOCH = "epoch"  # of an epoch that its life does not touch, or that did not begin
    SHARD = "shard"  # not where its peer's announcements of that epoch belong
    SIGNATURE = "signature"  # not signed by its peer
    MEMBERSHIP = "membership"  # of a stranger to this private swarm
    RECORD = "record"  # an announcement that holds, under a key of the DHT that is not its own


class AnnouncementRefused(DecodeError):
    """An announcement that does not count here."""

    def __init__(self, reason: AnnouncementReason) -> None:
        super().__init__(f"announcement refused: {reason}")
        self.reason = reason


class AnnouncementFilter:
    """Pure but for the clock, and monotone while nobody sets that back: what passed once passes until it expires."""

    def __init__(self, manifest: Manifest, clock: Callable[[], float] = time.time) -> None:
        self.manifest = manifest
        self.on_verified: Callable[[Announcement], None] | None = None  # hears of everything that is admitted
        # Hears of signed ones that are ahead of this clock, and by how many seconds.
        self.on_future: Callable[[Announcement, float], None] | None = None
        self.refused: Counter[str] = Counter()
        # Of the refused: those of members whose clock is ahead of this machine's, or this one behind.
        self.ahead = 0
        self._swarm = manifest.swarm_id
        self._clock = clock
        self._verified: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, raw: bytes) -> Announcement:
        """The announcement in `raw`, verified. Raises AnnouncementRefused and counts the reason.

        Expiry is not looked at: hivemind drops a dictionary's honest entries together with a refused one.
        """
        try:
            announcement = self._decode(raw)
            self._check_place(announcement)
            self._check_signatures(announcement, raw)
        except AnnouncementRefused as refusal:
            self.refused[refusal.reason] += 1
            raise
        if self.on_verified:
            self.on_verified(announcement)
        return announcement

    @property
    def foreign(self) -> int:
        """How many were refused as no member makes them, whatever its clock."""
        return self.refused.total() - self.ahead

    def live(self, announcement: Announcement) -> bool:
        """Whether it counts now: what was admitted by a clock that was set back since, may lie in the future."""
        now = self._clock()
        return announcement.expires > now and announcement.created <= now + CLOCK_SKEW

    def _decode(self, raw: bytes) -> Announcement:
        try:
            return Announcement.decode(raw)
        except OtherVersion as error:
            if not self.refused[AnnouncementReason.VERSION]:
                log.warning("announcements are refused: %s", error)
            raise AnnouncementRefused(AnnouncementReason.VERSION) from error
        except DecodeError as error:
            raise AnnouncementRefused(AnnouncementReason.MALFORMED) from error

    def _check_place(self, a: Announcement) -> None:
        manifest, latest = self.manifest, self._clock() + CLOCK_SKEW
        if a.swarm != self._swarm or a.depth != manifest.shard_depth:
            raise AnnouncementRefused(AnnouncementReason.SWARM)
        if a.created > latest:
            self._note_future(a)
            raise AnnouncementRefused(AnnouncementReason.FUTURE)
        if not 0 < a.expires - a.created <= MAX_LIFETIME:
            raise AnnouncementRefused(AnnouncementReason.LIFETIME)
        # One place in each epoch that has begun in its life, since it may be republished there (`republish`).
        # Otherwise one key could fill the shards of every epoch there is.
        first, last = (epoch_of(at, manifest.epoch_seconds) for at in (a.created, min(a.expires, latest)))
        if not first <= a.epoch <= last:
            raise AnnouncementRefused(AnnouncementReason.EPOCH)
        if a.shard != shard_of(a.peer, a.epoch, a.depth):
            raise AnnouncementRefused(AnnouncementReason.SHARD)

    def _note_future(self, announcement: Announcement) -> None:
        if announcement.verify_signature() and self._is_members(announcement):
            self.ahead += 1
            if self.on_future:
                self.on_future(announcement, announcement.created - self._clock())

    def _is_members(self, a: Announcement) -> bool:
        return admits(self.manifest.member_key, a.swarm, a.peer, a.token)

    def _check_signatures(self, announcement: Announcement, raw: bytes) -> None:
        digest = hashlib.sha256(raw).digest()
        if digest in self._verified:
            self._verified.move_to_end(digest)
            return
        if not announcement.verify_signature():
            raise AnnouncementRefused(AnnouncementReason.SIGNATURE)
        if not self._is_members(announcement):
            raise AnnouncementRefused(AnnouncementReason.MEMBERSHIP)
        set_newest(self._verified, digest, None, _REMEMBERED)
