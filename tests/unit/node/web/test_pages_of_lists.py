"""Every list of the page that is cut has its other pages, which together hold all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import kept_rollouts
import pytest
from sample_events import ROUND

from node.config.reading import load_config
from node.storage.events import ExternalEvent, PeerEvent, ProblemEvent, Store
from node.storage.rollout_rows import RefusedGroup, RoundRollouts
from node.storage.run_folder import RunFolder
from node.web import details
from node.web.errors import QueryError
from node.web.rollouts import SHOWN
from node.web.watched import Watched

PEER = "12D3KooWLong"
ROWS = details.SHOWN + 3
REFUSED = SHOWN + 3


@pytest.fixture
def run(tmp_path: Path) -> Watched:
    """Round 1 has more problems and peers than a page, and one peer more rounds, groups and refusals."""
    folder = RunFolder(tmp_path / "long-1")
    folder.create(load_config("tiny", ["rounds=2"]))
    refused = [RefusedGroup(2, PEER, "sort@1", n, 4, "stale", "") for n in range(REFUSED)]
    with closing(Store(folder.events, 10**7)) as store:
        store.append(
            ROUND,
            *(PeerEvent(1, f"{PEER}{n}", 1, 0, {}) for n in range(ROWS)),
            *(ProblemEvent(1, "sort@1", n, 1, 4, 4, 0.5, None) for n in range(ROWS)),
            *(PeerEvent(n, PEER, 1, 0, {}) for n in range(2, ROWS + 2)),
            *(ExternalEvent(n, PEER, "sort@1", n) for n in range(2, ROWS + 2)),
            rollouts=RoundRollouts(2, refused=refused),
        )
    return Watched(folder)


def read_through(look: Callable[[str], Any], query: str, name: str, key: str) -> list[str]:
    """The rows of all pages up to the first that is empty; each but the last is full."""
    rows: list[str] = []
    for page in range(1, 9):
        answer = look(f"{query}&{key}={page}")
        assert (answer["counts"][name] if "counts" in answer else answer["fitting"]) >= len(rows)
        if not answer[name]:
            break
        assert len(rows) == (page - 1) * answer["size"], "a page before the last is not full"
        rows += [json.dumps(row) for row in answer[name]]
    assert (
        len(rows) == (answer["counts"][name] if "counts" in answer else answer["fitting"]) == len(set(rows))
    )
    return rows


@pytest.mark.parametrize("name", ["problems", "peers"])
def test_all_of_a_round_can_be_reached(run: Watched, name: str) -> None:
    assert len(read_through(run.round, "round=1", name, name)) == ROWS


@pytest.mark.parametrize("name", ["rounds", "trained_on"])
def test_all_of_a_peer_can_be_reached(run: Watched, name: str) -> None:
    assert len(read_through(run.peer, f"peer={PEER}", name, name)) == ROWS


def test_all_that_was_refused_can_be_reached(run: Watched) -> None:
    assert len(read_through(run.peer, f"peer={PEER}", "refused", "refused")) == REFUSED
    assert len(read_through(run.rollouts, "kind=refused", "refused", "page")) == REFUSED


def test_all_rollouts_and_all_of_a_group_can_be_reached(tmp_path: Path) -> None:
    many = tuple(f"answer {place}" for place in range(SHOWN + 2))
    there = Watched(kept_rollouts.make_run(tmp_path / "many-1", many))
    for order in ("newest", "best", "worst"):
        assert (
            len(read_through(there.rollouts, f"kind=external&order={order}", "rollouts", "page")) == SHOWN + 2
        )
    beyond = there.rollouts("kind=external&page=9")
    assert (beyond["rollouts"], beyond["why"], beyond["fitting"]) == ([], "", SHOWN + 2)
    one = there.rollouts("kind=external&page=2")["rollouts"][0]["id"]
    assert len(read_through(there.rollouts, f"id={one}", "rollouts", "page")) == SHOWN + 2
    assert there.rollouts(f"id={one}")["rollouts"][0]["id"] == one


def test_a_page_that_is_none_is_refused(run: Watched) -> None:
    for query in ("round=1&problems=0", "round=1&peers=x", "round=1&page=2"):
        with pytest.raises(QueryError):
            run.round(query)
    for query in ("peer=a&rounds=-1", "peer=a&refused=9999999"):
        with pytest.raises(QueryError):
            run.peer(query)
