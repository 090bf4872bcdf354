"""The reason why a look at rollouts finds nothing: not played, not drawn, dropped for room, or of a name not known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.storage.events import History, RoundEvent
from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import VERDICTS, RolloutQuery, verdict_words
from node.storage.run_folder import RunFolder
from node.ui.inspect.errors import InspectError
from node.ui.short_names import short_peer
from policies.error_words import no_such
from policies.strategies.rollout_phase import NO_VERDICT
from swarm.admission.refusal import Reason
from swarm.visible_text import one_line

SHOWN: Final = 24  # names in a message
NOTHING_KEPT: Final = "No rollouts are kept here: the run is of before, or store.rollout_bytes is 0."


def refuse_unknown_names(folder: RunFolder, query: RolloutQuery, *, refused: bool, coming: bool) -> None:
    """Raises InspectError for a round, task, peer or verdict that the run does not have, StoreError.

    `coming`: rounds and peers that are not there yet are waited for.
    """
    history, kept = History(folder.events), RolloutHistory(folder.events)
    if query.verdict is not None:
        known = [*map(str, Reason)] if refused else [*VERDICTS, NO_VERDICT]
        _refuse("verdict", query.verdict, [*known, *kept.names("reason", refused=refused)])
    if query.task is not None:
        full = [task.name for task in folder.read_config().tasks] + kept.names("task", refused=refused)
        short = [name.partition("@")[0] for name in full]
        if query.task not in full:
            _refuse("task", query.task, short)
    if coming:
        return
    if said := _not_played(history.rounds(), query):
        raise InspectError(said)
    if query.peer is not None:
        heard = [*(event.peer for event in history.peers()), *kept.names("peer", refused=refused)]
        if not any(peer.endswith(query.peer) for peer in heard):
            _refuse("peer", query.peer, map(short_peer, heard))


def why_no_rollouts(store: Path, query: RolloutQuery) -> str:
    """One line for a query that found no rollout. Raises StoreError."""
    held, rounds = RolloutHistory(store).holdings(), History(store).rounds()
    if said := _not_played(rounds, query):
        return said
    if query.external and not any(event.trained_external for event in _asked(rounds, query)):
        where = "any update so far" if query.round is None else f"the update of round {query.round}"
        return f"No group of a peer was in {where}."
    if not held.kept:
        return "No rollout is kept any more." if held.dropped else NOTHING_KEPT
    if query.round is not None and held.thinned_to is not None and query.round <= held.thinned_to:
        return f"Rollouts of rounds up to {held.thinned_to} were dropped for room, those asked for may be among them."
    return f"None of the {held.kept:,} rollouts that are kept is {_filters(query)}."


def why_nothing_refused(store: Path, query: RolloutQuery) -> str:
    """One line for a query that found no refused group. Raises StoreError."""
    rounds = History(store).rounds()
    if said := _not_played(rounds, query):
        return said
    refused = sum(count for event in _asked(rounds, query) for count in event.refused.values())
    if not refused:
        where = " at all" if query.round is None else f" in round {query.round}"
        return f"Nothing of a peer was refused{where}."
    if wanted := _filters(query):
        return f"No group that was refused is {wanted}."
    return f"{refused:,} records of peers were refused, and none of them is kept here: see murmur peers."


def _asked(rounds: list[RoundEvent], query: RolloutQuery) -> list[RoundEvent]:
    return [event for event in rounds if query.round in (None, event.round)]


def _not_played(rounds: list[RoundEvent], query: RolloutQuery) -> str:
    """Empty where the round that is asked for was played, or none is asked for."""
    if query.round is None or _asked(rounds, query):
        return ""
    newest = f"the newest is {rounds[-1].round}" if rounds else "none was so far"
    return f"Round {query.round} was not played: {newest}."


def _filters(query: RolloutQuery) -> str:
    """What was asked for, as it ends a sentence; empty without a filter."""
    asked = [
        "of a peer" if query.external else "of this run's policy" if query.external is False else "",
        "" if query.round is None else f"of round {query.round}",
        "" if query.task is None else f"of task {one_line(query.task)}",
        "" if query.seed is None else f"of seed {query.seed}",
        "" if query.peer is None else f"from {one_line(short_peer(query.peer))}",
        "" if query.right is None else "right" if query.right else "wrong",
        "" if query.verdict is None else one_line(verdict_words(query.verdict)),
    ]
    return " and ".join(filter(None, asked))


def _refuse(kind: str, name: str, known: Iterable[str]) -> None:
    names = list(dict.fromkeys(known))
    if name not in names:
        raise InspectError(no_such(kind, name, names[:SHOWN]))
