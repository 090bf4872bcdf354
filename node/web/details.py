"""One round and one peer in full, as the page shows them when its address names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

from node.storage.events import ExternalEvent, History, PeerEvent
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import RolloutQuery
from node.ui.inspect.stats import phase_seconds
from node.web.errors import QueryError
from node.web.figures import finite
from node.web.rollouts import MAX_ROUND, fields_of, number_of, page_of, plain_refused
from swarm.visible_text import visible

SHOWN: Final = 20  # rows of a page of each list
NAME: Final = 200  # characters of what a peer or task calls itself

Row = TypeVar("Row")


def round_details(history: History, query_string: str) -> dict[str, Any]:
    """The round that `round` names: its figures, where its time went, its problems and peers. `known` says whether
    it was played. Raises QueryError, StoreError.
    """
    given = fields_of(query_string, {"round", "problems", "peers"})
    number = number_of(given.get("round", ""), MAX_ROUND)
    problems_page, peers_page = page_of(given, "problems"), page_of(given, "peers")
    events = history.rounds()
    found = next((event for event in events if event.round == number), None)
    if found is None:
        return {"round": number, "known": False, "last": events[-1].round if events else 0}
    problems = [event for event in history.problems() if event.round == number]
    peers = [event for event in history.peers() if event.round == number]
    told: dict[str, Any] = {
        "round": number,
        "known": True,
        "last": events[-1].round,
        "figures": asdict(found),
        "phases": phase_seconds([found]),
        "problems": [
            asdict(event) | {"task": visible(event.task, NAME, lines=False)}
            for event in paged(problems, problems_page)
        ],
        "peers": [_peer_round(event) for event in paged(peers, peers_page)],
        "counts": {"problems": len(problems), "peers": len(peers)},
        "size": SHOWN,
    }
    return dict(finite(told))


def peer_details(history: History, store: Path, query_string: str) -> dict[str, Any]:
    """The peer whose PeerID ends as `peer` says: its rounds, newest first, and what of it was refused last.

    Raises QueryError, StoreError.
    """
    given = fields_of(query_string, {"peer", "rounds", "trained_on", "refused"})
    asked = given.get("peer", "").lstrip("…")
    if not asked:
        raise QueryError("peer is a PeerID, or the end of one")
    at = {name: page_of(given, name) for name in ("rounds", "trained_on", "refused")}
    theirs = [event for event in reversed(history.peers()) if event.peer.endswith(asked)]
    taken = [event for event in reversed(history.external()) if event.peer.endswith(asked)]
    names = sorted({event.peer for event in theirs} | {event.peer for event in taken})
    kept = RolloutHistory(store)
    query = RolloutQuery(peer=asked, limit=SHOWN, skip=SHOWN * (at["refused"] - 1))
    told: dict[str, Any] = {
        "peers": names[:SHOWN],
        "rounds": [_peer_round(event) for event in paged(theirs, at["rounds"])],
        "trained_on": [_trained(event) for event in paged(taken, at["trained_on"])],
        "refused": [plain_refused(each) for each in kept.refused(query)],
        "counts": {
            "peers": len(names),
            "rounds": len(theirs),
            "trained_on": len(taken),
            "refused": kept.refused_fitting(query),
        },
        "size": SHOWN,
    }
    return dict(finite(told))


def paged(rows: Sequence[Row], page: int) -> Sequence[Row]:
    return rows[SHOWN * (page - 1) : SHOWN * page]


def _peer_round(event: PeerEvent) -> dict[str, Any]:
    return asdict(event) | {"why": visible(event.why, NAME, lines=False)}


def _trained(event: ExternalEvent) -> dict[str, Any]:
    return asdict(event) | {"task": visible(event.task, NAME, lines=False)}
