"""Rollouts in the store: they come back as they went in, within their bytes; a killed writer loses no whole round."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.storage.events import EVENTS, History, Store
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import (
    MAX_CHARACTERS,
    RefusedGroup,
    RolloutQuery,
    RoundRollouts,
    ScoredGroup,
)
from node.storage.store_file import StoreError, explained
from policies.rollout import Finish, Group, Image, Problem, Rollout, Segment

ALICE, BOB = "12D3KooWAliceAlice", "12D3KooWBobBob"
BOUND = 10**6
HOSTILE = "\x1b[2J\u202e<script>\x00\ud800"


def group(
    seed: int, origin: str | None = None, task: str = "sort@1", texts: tuple[str, ...] = ("a", "b")
) -> Group:
    rollouts = tuple(
        Rollout(text, (Segment(0, (1, 2, 3)),), Finish.STOP, reward=float(place))
        for place, text in enumerate(texts)
    )
    return Group(Problem(task, seed, f"prompt {seed}", f"answer {seed}"), rollouts, origin)


def trained(group: Group) -> ScoredGroup:
    return ScoredGroup(group, tuple(reward - 0.5 for reward in group.rewards))


def fill(store: Store, numbers: range, size: int) -> None:
    for number in numbers:
        noise = [os.urandom(size // 8).hex() for _ in range(4)]
        groups = [group(seed, origin, texts=(noise[place], "b")) for place, (seed, origin) in
                  enumerate([(1, None), (2, None), (3, BOB), (4, BOB)])]  # fmt: skip
        rounds = RoundRollouts(number, [trained(each) for each in groups])
        store.append(replace(ROUND, round=number), rollouts=rounds)


def test_what_went_in_comes_back_by_every_filter(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    refused = RefusedGroup(2, BOB, "odd", None, 8, "stale", "announced 700 s ago")
    dropped = ScoredGroup(
        group(9, ALICE, "add@1", (HOSTILE, "y" * (MAX_CHARACTERS + 7))), (None, None), "all_alike"
    )
    with closing(Store(path, BOUND)) as store:
        store.append(rollouts=RoundRollouts(1, [trained(group(1)), trained(group(2, BOB))]))
        store.append(rollouts=RoundRollouts(2, [dropped], [refused]))
    history = RolloutHistory(path)

    def seeds(**filters: object) -> list[int]:
        return [rollout.seed for rollout in history.find(RolloutQuery(**filters))]  # type: ignore[arg-type]

    assert seeds() == [9, 9, 2, 2, 1, 1] and seeds(limit=1) == [9]
    assert seeds(round=1) == [1, 1, 2, 2] and seeds(task="add") == seeds(task="add@1") == [9, 9]
    assert seeds(task="ad") == seeds(peer="nobody") == seeds(peer="%") == []
    assert seeds(external=False) == [1, 1] and seeds(external=True) == [9, 9, 2, 2]
    assert seeds(peer=BOB) == seeds(peer="BobBob") == [2, 2]
    assert [r.reward for r in history.find(RolloutQuery(order="best", limit=3))] == [1.0, 1.0, 1.0]
    assert [r.reward for r in history.find(RolloutQuery(order="worst", limit=3))] == [0.0, 0.0, 0.0]
    long, hostile = history.find(RolloutQuery(round=2))
    assert (hostile.text, hostile.cut, hostile.reason, hostile.advantage) == (
        HOSTILE,
        False,
        "all_alike",
        None,
    )
    assert (len(long.text), long.characters, long.cut) == (MAX_CHARACTERS, MAX_CHARACTERS + 7, True)
    own = history.find(RolloutQuery(external=False))[0]
    assert (own.prompt, own.answer, own.text, own.tokens, own.advantage) == (
        "prompt 1",
        "answer 1",
        "b",
        3,
        0.5,
    )
    assert history.get(own.id) == own and history.get(999) is None
    assert history.refused(RolloutQuery()) == history.refused(RolloutQuery(peer="BobBob")) == [refused]
    assert history.refused(RolloutQuery(round=1)) == []


def test_a_rollout_left_out_of_a_trained_group_says_so(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "s", BOUND)) as store:
        store.append(rollouts=RoundRollouts(1, [ScoredGroup(group(1), (0.5, None))]))
    left_out, kept = RolloutHistory(tmp_path / "s").find(RolloutQuery())
    assert (kept.reason, left_out.reason) == (None, "down_sampled")


def test_images_come_back_pixel_for_pixel(tmp_path: Path) -> None:
    image = Image(3, 2, 3, bytes(range(18)))
    drawn = Group(Problem("digits@1", 1, "a 3", ""), (Rollout("", (), Finish.STOP, 0.5, image),))
    with closing(Store(tmp_path / "s", BOUND)) as store:
        store.append(rollouts=RoundRollouts(1, [ScoredGroup(drawn, (0.1,)), trained(group(1))]))
    history = RolloutHistory(tmp_path / "s")
    (found,) = history.find(RolloutQuery(task="digits"))
    assert (found.image, found.text) == ((3, 2), "") and history.image(found.id) == image
    assert history.image(found.id + 1) is None


@pytest.mark.parametrize(("size", "bound"), [(2_000, 400_000), (20_000, 1_600_000)])
def test_the_bytes_stay_below_the_bound_and_the_oldest_rounds_give_way(
    tmp_path: Path, size: int, bound: int
) -> None:
    path = tmp_path / "events.sqlite"
    with closing(Store(path, bound)) as store:
        fill(store, range(1, 301), size=size)
    with closing(Store(tmp_path / "events alone", 0)) as store:
        fill(store, range(1, 301), size=size)
    assert path.stat().st_size - (tmp_path / "events alone").stat().st_size < 1.5 * bound
    history, found = RolloutHistory(path), RolloutHistory(path).holdings()
    assert found.size <= bound and found.kept + found.dropped == 300 * 8
    assert found.first_round is not None and found.thinned_to is not None
    assert 1 <= found.first_round <= found.thinned_to < 300
    newest = history.find(RolloutQuery(round=300))
    thin = history.find(RolloutQuery(round=found.thinned_to))
    assert len(newest) == 8 and {(r.seed, r.origin) for r in thin} == {(1, None), (3, BOB)}
    assert history.find(RolloutQuery(round=found.first_round - 1)) == []
    assert len(History(path).rounds()) == 300
    with closing(Store(path, bound // 2)) as store:  # a smaller bound holds from the next round on
        fill(store, range(301, 302), size=size)
    assert RolloutHistory(path).holdings().size <= bound // 2


@pytest.mark.parametrize("bound", [0, 100])
def test_a_bound_below_one_round_keeps_nothing(tmp_path: Path, bound: int) -> None:
    with closing(Store(tmp_path / "s", bound)) as store:
        fill(store, range(1, 4), size=2_000)
    assert RolloutHistory(tmp_path / "s").holdings().kept == 0 and len(History(tmp_path / "s").rounds()) == 3


def test_a_rewound_store_has_no_rollouts_of_rounds_to_be_played_again(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "s", BOUND)) as store:
        fill(store, range(1, 6), size=100)
        store.append(rollouts=RoundRollouts(5, [], [RefusedGroup(5, BOB, "", None, 0, "size", "")]))
        store.rewind(3)
        fill(store, range(4, 5), size=100)
    history = RolloutHistory(tmp_path / "s")
    assert sorted({r.round for r in history.find(RolloutQuery(limit=99))}) == [1, 2, 3, 4]
    assert history.holdings().kept == 32 and history.refused(RolloutQuery()) == []


def test_a_store_of_before_keeps_its_events_and_takes_rollouts_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(EVENTS)
        data = json.dumps({"round": 1, "peer": BOB, "received": 1, "set_aside": 0, "refused": {}})
        db.execute("INSERT INTO events (time, round, kind, data) VALUES (1.0, 1, 'peer', ?)", (data,))
    path.chmod(0o644)
    history = RolloutHistory(path)
    assert history.find(RolloutQuery()) == history.refused(RolloutQuery()) == []
    assert history.get(1) is history.image(1) is None and history.holdings().kept == 0
    with closing(Store(path, BOUND)) as store:
        store.append(rollouts=RoundRollouts(2, [trained(group(1))]))
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(history.find(RolloutQuery())) == 2 and [e.peer for e in History(path).peers()] == [BOB]


def test_a_store_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="later version of murmur: update"):
        Store(tmp_path / "s")
    with pytest.raises(StoreError, match="later version of murmur: update"):
        History(tmp_path / "s").rounds()


def test_what_keeps_a_store_from_being_used_is_told_with_what_helps(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="it is no event store: move it away"):
        History(tmp_path / "folder").rounds()
    with closing(Store(tmp_path / "s", BOUND)), closing(sqlite3.connect(tmp_path / "s")) as db:
        db.executescript("DROP TABLE rollouts; CREATE TABLE rollouts (other)")
    with pytest.raises(StoreError, match=r"no such column.*: it is no event store: move it away"):
        RolloutHistory(tmp_path / "s").find(RolloutQuery())
    with pytest.raises(StoreError, match="another program has it open"), explained(tmp_path / "s"):
        raise sqlite3.OperationalError("database is locked")


def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with closing(Store(tmp_path / "events.sqlite", BOUND)) as store:
            store.append(ROUND)
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("events.sqlite", "events.sqlite-wal", "events.sqlite-shm"), 0o600)


KILLED = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_rollouts import ROUND, Store, fill
store = Store(Path(sys.argv[1]), 60_000)
number = 0
while True:
    number += 1
    fill(store, range(number, number + 1), 2_000)
    print(number, flush=True)
"""


def test_kill_9_loses_no_round_that_was_written_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), *folders], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    told = 0
    while told < 30:
        told = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.communicate()[0].split()
    told = int(rest[-1]) if rest else told
    rounds = [event.round for event in History(path).rounds()]
    assert rounds == list(range(1, len(rounds) + 1)) and told <= len(rounds) <= told + 1
    history = RolloutHistory(path)
    assert len(history.find(RolloutQuery(round=rounds[-1]))) == 8
    assert history.holdings().kept + history.holdings().dropped == 8 * len(rounds)
