"""The event store: what was appended is read back, also by another connection and after a rewind."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.storage.events import (
    EvaluationEvent,
    ExternalEvent,
    History,
    LifeEvent,
    PeerEvent,
    ProblemEvent,
    Store,
)
from node.storage.store_file import StoreError

PROBLEM = ProblemEvent(1, "sort@1", 77, correct=1, rollouts=4, sampled=12, reward=0.25, dropped=None)


def test_events_come_back_as_they_went_in(tmp_path: Path) -> None:
    evaluation, peer = EvaluationEvent(0, 0.2, {"sort@1": 0.2}), PeerEvent(1, "alice", 3, 1, {"stale": 2})
    events = [ROUND, evaluation, PROBLEM, peer]
    life = LifeEvent(0, "started", "a note", {"peer": "bob"})
    with closing(Store(tmp_path / "events.sqlite")) as store:
        store.append(*events, life)
        history = History(tmp_path / "events.sqlite")  # beside the open writer
        rounds, judged, problems = history.rounds(), history.evaluations(), history.problems()
        assert [*rounds, *judged, *problems, *history.peers(), *history.life()] == [*events, life]


def test_events_come_back_with_the_time_at_which_they_were_written(tmp_path: Path) -> None:
    before = time.time()
    trained = [ExternalEvent(number, "alice", "sort@1", 7) for number in (1, 2)]
    with closing(Store(tmp_path / "events.sqlite")) as store:
        store.append(trained[0])
        between = time.time()
        store.append(ROUND, trained[1])
    times, events = zip(*History(tmp_path / "events.sqlite").timed("external"), strict=True)
    assert list(events) == trained
    assert before <= times[0] <= between <= times[1] <= time.time()


@pytest.mark.parametrize("put_back", [False, True])
def test_a_store_that_is_taken_away_is_noticed_at_the_next_write(put_back: bool, tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with closing(Store(path)) as store:
        store.append(ROUND)
        for file in tmp_path.iterdir():
            file.rename(file.with_name(f"moved-{file.name}"))
        if put_back:
            Store(path).close()  # another one lies there
        with pytest.raises(StoreError, match=r"events\.sqlite was taken away while this run wrote to it"):
            store.append(replace(ROUND, round=2))


def test_rewind_forgets_later_rounds_and_keeps_the_life(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "events.sqlite")) as store:
        store.append(*(replace(ROUND, round=number) for number in range(1, 6)))
        store.append(PeerEvent(5, "alice", 1, 0, {}), LifeEvent(5, "stopped"))
        assert store.rewind(3) == 2
    history = History(tmp_path / "events.sqlite")
    assert [event.round for event in history.rounds()] == [1, 2, 3]
    assert history.peers() == []
    assert [event.what for event in history.life()] == ["stopped"]


def test_absent_or_empty_store_is_an_empty_history(tmp_path: Path) -> None:
    assert History(tmp_path / "none.sqlite").rounds() == []
    (tmp_path / "empty.sqlite").touch()
    assert History(tmp_path / "empty.sqlite").rounds() == []


@pytest.mark.parametrize("place", [0.0, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_store_is_named_and_never_ends_in_an_error_of_sqlite(
    tmp_path: Path, place: float, cut: bool
) -> None:
    path = tmp_path / "events.sqlite"
    with closing(Store(path)) as store:
        for number in range(1, 200):
            store.append(replace(ROUND, round=number), PeerEvent(number, "alice", 1, 0, {}))
    content = path.read_bytes()
    start = int(len(content) * place)
    path.write_bytes(
        content[:start] if cut else content[:start] + b"\x00\xff" * 3000 + content[start + 6000 :]
    )

    def use() -> None:
        history = History(path)
        history.rounds(), history.peers(), history.life(), history.last_written()
        with closing(Store(path)) as store:
            store.rewind(3)
            store.append(replace(ROUND, round=4))

    try:
        use()
    except StoreError as error:
        assert str(path) in str(error) and ": " in str(error)


def test_rows_of_another_version_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with closing(Store(path)) as store:
        store.append(ROUND)
    for data in ('{"round": 1}', "[]", "{", "3"):
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE events SET data = ?", (data,))
        with pytest.raises(StoreError, match=r"is damaged or of another version .*: move it away"):
            History(path).rounds()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="move it away"):
        Store(path)
