"""The key watch notices that this node's key is in use elsewhere: by announcements that it signed and did not make.

Two nodes of one key are one peer to everybody else: each looks for others under its own name, and fetches from it reach
either of the two.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from swarm.newest_kept import set_newest
from swarm.wire.announcement import Announcement

log = logging.getLogger(__name__)

_REMEMBERED = 4096  # digests
WARNING = (
    "this node's key runs elsewhere too: somebody announces bodies in its name that it did not make. Neither of the "
    "two is heard properly. Stop one of them, or let it make a key of its own in a run folder of its own"
)
OWN_INVITE = (
    "the only peer that this node knows to join through has its own key, so it joins nobody: this run folder, or a "
    "copy of it, founded that swarm. To take part beside the founder, join in a run folder of its own"
)


class KeyWatch:
    """Of one process. What this key announced before it started may be an earlier run's, and says nothing."""

    def __init__(self, peer: str, started: float) -> None:
        """`started` in Unix seconds, by this machine's clock."""
        self.foreign = 0  # bodies that were announced in this node's name and not made by it
        self.peer = peer
        self._started = started
        self._made: OrderedDict[bytes, None] = OrderedDict()
        self._foreign: OrderedDict[bytes, None] = OrderedDict()

    def note_made(self, digest: bytes) -> None:
        """This node is about to announce the body with that digest."""
        set_newest(self._made, digest, None, _REMEMBERED)

    def note_heard(self, announcement: Announcement) -> None:
        """An announcement whose signature was checked, of whomever."""
        digest = announcement.digest
        if announcement.peer != self.peer or announcement.created <= self._started:
            return
        if digest in self._made or digest in self._foreign:
            return
        if not self.foreign:
            log.warning("%s", WARNING)
        self.foreign += 1
        set_newest(self._foreign, digest, None, _REMEMBERED)
