"""Known peers: those that gave this node something good, where they were last, and what they say of announcements.

They are asked outside the DHT, a few now and then, and at every look while the DHT brings nothing new of them: whoever
hides the keys of an epoch does not stop the exchange between peers that have met.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from policies.error_words import brief
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.errors import DecodeError, FetchFailed
from swarm.exchange.announcement_exchange import ask_announcements
from swarm.exchange.framing import Dial
from swarm.newest_kept import set_newest
from swarm.wire.membership import Membership
from swarm.wire.multiaddr import Address

log = logging.getLogger(__name__)

_ASKED, _ASKED_IN_NEED = 2, 3  # peers at a time
_PERIOD = 20.0  # seconds between questions while the DHT brings news of known peers
_PATIENCE = 4.0  # seconds for all that are asked at a time
# Seconds that two answers of one peer may overlap: announcements reach it late, and clocks differ.
_OVERLAP = 15.0
# Seconds after which who closed a question is asked again: a server that is full closes some too.
_PAUSE = 0.5
_MAX_REMEMBERED = 512  # peers whose last addresses and answers are remembered


class KnownPeers:
    """Of one node. `update` says who is known."""

    def __init__(
        self, own: Membership, announcements: AnnouncementStore, generator: random.Random | None = None
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._own, self._announcements = own, announcements
        self._generator = generator or random.Random()
        self._known: frozenset[str] = frozenset()
        self._addresses: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._asked: OrderedDict[str, float] = OrderedDict()  # Unix seconds of the last answer
        self._due = 0.0  # monotonic seconds
        self._answered = False  # whether anybody ever was
        self._closed: set[str] = set()  # peers that ended the last question without a word

    def __contains__(self, peer: object) -> bool:
        return peer in self._known

    def update(self, peers: Sequence[str]) -> None:
        """`peers` are known now; where they are is remembered beyond the life of their announcements."""
        self._known = frozenset(peers)
        for peer in peers:
            if (announcement := self._announcements.find(peer)) and announcement.own_addresses:
                set_newest(self._addresses, peer, announcement.own_addresses, _MAX_REMEMBERED)

    async def ask(self, dial: Dial, join_through: Sequence[Address], *, news: bool) -> None:
        """Puts what a few peers heard of into the announcement store. Never raises; ends within seconds.

        Asks known peers; while there are none, those that this node may `join_through`. Does nothing before it is due,
        unless the DHT brings no `news` of known peers, or nobody is heard of.
        """
        in_need = not news and bool(self._known or not self._announcements.live())
        if time.monotonic() < self._due and not in_need:
            return
        self._due = time.monotonic() + _PERIOD
        places = {peer: self._addresses[peer] for peer in self._known if peer in self._addresses}
        places = places or _places(join_through)
        count = min(len(places), _ASKED_IN_NEED if in_need else _ASKED)
        asked = self._generator.sample(sorted(places), count)
        await self._ask_these({peer: places[peer] for peer in asked}, dial)

    async def is_shut_out(self, dial: Dial, join_through: Sequence[Address]) -> bool:
        """Whether all that this node may `join_through` take the question and end it without a word, twice.

        Peers do so with who is not of their swarm. False once anybody ever answered, and where one is not reached.
        """
        if self._answered:
            return False
        places = _places(join_through)
        peers = self._generator.sample(sorted(places), len(places))
        for pause in (0.0, _PAUSE):
            await asyncio.sleep(pause)
            for first in range(0, len(peers), _ASKED_IN_NEED):
                asked = peers[first : first + _ASKED_IN_NEED]
                await self._ask_these({peer: places[peer] for peer in asked}, dial)
                if self._answered or not self._closed.issuperset(asked):
                    return False
        return bool(peers)

    async def _ask_these(self, places: Mapping[str, Sequence[str]], dial: Dial) -> None:
        self._closed.difference_update(places)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*(self._ask_one(peer, place, dial) for peer, place in places.items()))

    async def _ask_one(self, peer: str, addresses: Sequence[str], dial: Dial) -> None:
        began = time.time()
        since = max(0.0, self._asked.get(peer, 0.0) - _OVERLAP)
        if since > began:  # the clock was set back
            since = 0.0
        try:
            raws = await ask_announcements(await dial(peer, addresses), self._own, since)
        except (FetchFailed, DecodeError, OSError, EOFError) as error:
            if isinstance(error, EOFError | ConnectionError):
                self._closed.add(peer)
            self.counters["ask_failed"] += 1
            log.debug("%s tells no announcements: %s", peer, brief(error))
            return
        self._answered = True
        if raws is None:
            self.counters["ask_busy"] += 1
            return
        self.counters.update(asked=1, heard=len(raws))
        self._announcements.add(raws)
        set_newest(self._asked, peer, began, _MAX_REMEMBERED)


def _places(addresses: Iterable[Address]) -> dict[str, tuple[str, ...]]:
    """Where each peer may be, by PeerID."""
    found: dict[str, tuple[str, ...]] = {}
    for address in addresses:
        if address.peer:
            found[address.peer] = (*found.get(address.peer, ()), str(address.without_peer()))
    return found
