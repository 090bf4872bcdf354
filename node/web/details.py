"""One round and one peer in full, as the page shows them when its address names them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from node.storage.events import ExternalEvent, History, PeerEvent
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import RolloutQuery
from node.ui.inspect.stats import phase_seconds
from node.web.errors import QueryError
from node.web.finite import finite
from node.web.rollouts import MAX_ROUND, fields_of, number_of, plain_refused
from swarm.visible_text import visible

SHOWN: Final = 60  # rounds of a peer, problems of a round, refused groups
NAME: Final = 200  # characters of what a peer or task calls itself


def round_details(history: History, query_string: str) -> dict[str, Any]:
    """The round that `round` names: its figures, where its time went, its problems and peers. `known` says whether
    it was played. Raises QueryError, StoreError.
    """
    number = number_of(fields_of(query_string, {"round"}).get("round", ""), MAX_ROUND)
    events = history.rounds()
    found = next((event for event in events if event.round == number), None)
    if found is None:
        return {"round": number, "known": False, "last": events[-1].round if events else 0}
    problems = [event for event in history.problems() if event.round == number]
    told: dict[str, Any] = {
        "round": number,
        "known": True,
        "last": events[-1].round,
        "figures": asdict(found),
        "phases": phase_seconds([found]),
        "problems": [
            asdict(event) | {"task": visible(event.task, NAME, lines=False)} for event in problems[:SHOWN]
        ],
        "peers": [_peer_round(event) for event in history.peers() if event.round == number][:SHOWN],
    }
    return dict(finite(told))


def peer_details(history: History, store: Path, query_string: str) -> dict[str, Any]:
    """The peer whose PeerID ends as `peer` says: its rounds, newest first, and what of it was refused last.

    Raises QueryError, StoreError.
    """
    asked = fields_of(query_string, {"peer"}).get("peer", "").lstrip("…")
    if not asked:
        raise QueryError("peer is a PeerID, or the end of one")
    theirs = [event for event in history.peers() if event.peer.endswith(asked)]
    given = [event for event in history.external() if event.peer.endswith(asked)]
    names = sorted({event.peer for event in theirs} | {event.peer for event in given})
    refused = RolloutHistory(store).refused(RolloutQuery(peer=asked, limit=SHOWN))
    told: dict[str, Any] = {
        "peers": names[:SHOWN],
        "rounds": [_peer_round(event) for event in theirs[: -SHOWN - 1 : -1]],
        "trained_on": [_trained(event) for event in given[: -SHOWN - 1 : -1]],
        "refused": [plain_refused(each) for each in refused],
    }
    return dict(finite(told))


def _peer_round(event: PeerEvent) -> dict[str, Any]:
    return asdict(event) | {"why": visible(event.why, NAME, lines=False)}


def _trained(event: ExternalEvent) -> dict[str, Any]:
    return asdict(event) | {"task": visible(event.task, NAME, lines=False)}
