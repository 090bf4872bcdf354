"""Where a node looks for publishers, and whom it takes for candidates."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from announcing import MANIFEST, NOW, announce

from swarm.discovery.announcement_filter import AnnouncementFilter
from swarm.discovery.announcement_store import AnnouncementStore
from swarm.discovery.shard_reader import SPARE, ShardReader
from swarm.wire.announcement import Announcement, epoch_of, shard_key
from swarm.wire.identity import Identity

PEERS = [Identity(number.to_bytes(32, "big")) for number in range(1, 241)]
CURRENT = epoch_of(NOW, MANIFEST.epoch_seconds) + 1  # NOW lies in the last whole epoch
WANT = SPARE * 4


OFFERS = [announce(peer, digest=peer.public_key) for peer in PEERS]


class Library:
    """A DHT of OFFERS in the 16 shards of the last whole epoch, and a node that reads there."""

    def __init__(self, seed: int = 0, offers: list[Announcement] | None = None) -> None:
        self.shelves: dict[str, list[bytes]] = {}
        for a in OFFERS if offers is None else offers:
            key = shard_key(a.swarm, a.epoch, a.depth, a.shard)
            self.shelves.setdefault(key, []).append(a.encode())
        self.directory = AnnouncementStore(GATE, "own")
        self.reader = ShardReader(MANIFEST, self.directory, 600.0, random.Random(seed))
        self.read: list[str] = []

    def look(self, current: int = CURRENT, want: int = WANT) -> list[Announcement]:
        for keys in self.reader.keys_to_read(current, want):
            self.read += keys
            self.reader.add([raw for key in keys for raw in self.shelves.get(key, [])])
        return self.reader.candidates(want)


GATE = AnnouncementFilter(MANIFEST, lambda: NOW + 70.0)


def test_candidates_are_uniform_over_publishers_whatever_gossip_says() -> None:
    """A tenth of the publishers ride on every answer; they are not candidates the oftener for it."""
    counts: Counter[str] = Counter()
    popular = [a.encode() for a in OFFERS[:24]]
    for seed in range(150):
        library = Library(seed)
        library.directory.add(popular)
        counts.update(a.peer for a in library.look())
    favoured = sum(counts[a.peer] for a in OFFERS[:24])
    assert len(counts) > 220
    assert abs(favoured - counts.total() / 10) < 4 * (counts.total() * 0.1 * 0.9 * 1.5) ** 0.5


def test_a_look_ends_when_there_is_a_publisher_for_each_body_and_reads_no_shard_twice() -> None:
    library = Library()
    while len(library.read) < 10:
        found = library.look()
        assert len(found) >= WANT // SPARE
        for announcement in found:
            library.reader.mark_fetched(announcement)
    assert len(set(library.read)) == len(library.read)
    epochs = {int(key.split("/")[3]) for key in library.read}
    assert epochs == {CURRENT - 1}


def test_nothing_is_read_while_enough_are_waiting() -> None:
    library = Library()
    library.look()
    seen = len(library.read)
    assert library.look() and len(library.read) == seen


def test_a_candidate_comes_with_the_newest_body_that_is_known_of_it() -> None:
    library = Library()
    first = library.look()[0]
    owner = next(peer for peer in PEERS if peer.peer_id == first.peer)
    newer = announce(owner, created=NOW + 1, expires=NOW + 601, digest=b"n" * 32)
    library.directory.add([newer.encode()])
    assert newer in library.look() and first not in library.look()


def test_all_that_are_known_are_candidates_while_the_dht_holds_too_few() -> None:
    library = Library(offers=[])
    heard = OFFERS[:3]
    library.directory.add([a.encode() for a in heard])
    assert {a.peer for a in library.look()} == {a.peer for a in heard}
    assert f"/{CURRENT}/" in "".join(library.read)  # a young swarm has no whole epoch yet
    seen = len(library.read)
    library.look()
    assert not any(f"/{CURRENT - 1}/" in key for key in library.read[seen : seen + 4])


def test_a_look_that_breaks_off_leaves_its_shard_unread() -> None:
    library = Library()
    looking = library.reader.keys_to_read(CURRENT, WANT)
    next(looking)
    looking.close()  # the daemon died meanwhile
    assert library.reader._read == set()


def test_an_unsharded_swarm_knows_everybody() -> None:
    manifest = replace(MANIFEST, shard_depth=0)

    def bare(change: Callable[[Announcement], Announcement], peer: Identity) -> bytes:
        return change(announce(peer, swarm=manifest.swarm_id, depth=0, shard=0)).sign(peer).encode()

    directory = AnnouncementStore(AnnouncementFilter(manifest, lambda: NOW + 70.0), "own")
    reader = ShardReader(manifest, directory, 600.0, random.Random(0))
    raws = [bare(lambda a: a, peer) for peer in PEERS[:30]]
    read = []
    for keys in reader.keys_to_read(CURRENT, WANT):
        read += keys
        reader.add(raws)
    assert len(read) == 4  # newest first, and no more once everybody is known
    assert len(reader.candidates(WANT)) == 30
    reader.mark_fetched(reader.candidates(WANT)[0])
    assert len(reader.candidates(WANT)) == 30


def test_candidates_that_are_declined_make_room_for_others() -> None:
    """In a swarm of texts and images half of what is drawn is of no use to a node; the rest must not run dry."""
    useful = {a.peer for a in OFFERS[::2]}
    library = Library()
    fetched: list[Announcement] = []
    for _ in range(12):
        found = library.look()
        fetched += [a for a in found if a.peer in useful][:1]
        for announcement in (a for a in found if a.peer not in useful or a is fetched[-1]):
            library.reader.mark_fetched(announcement)
    assert len({a.peer for a in fetched}) == 12


def test_dead_announcements_do_not_end_the_search_for_others() -> None:
    """Twelve fresh keys that serve nothing once ended all exchange: they counted as publishers known well enough."""
    manifest = replace(MANIFEST, shard_depth=0)
    store = AnnouncementStore(AnnouncementFilter(manifest, lambda: NOW + 70.0), "own")
    reader = ShardReader(manifest, store, 600.0, random.Random(1))
    place = {"swarm": manifest.swarm_id, "depth": 0, "shard": 0}
    dead = [announce(peer, digest=peer.public_key, **place) for peer in PEERS[:40]]
    store.add([a.encode() for a in dead])
    assert not list(reader.keys_to_read(CURRENT, WANT))
    for announcement in dead:
        reader.mark_fetched(announcement)
    assert list(reader.keys_to_read(CURRENT, WANT))
