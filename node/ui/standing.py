"""The standing of a run: a word for what it does right now, and the line that says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.storage.events import LifeEvent, RoundEvent

STANDINGS: Final = ("started", "resumed", "joined", "finished", "stopped", "diverged")


def standing(
    life: Sequence[LifeEvent], rounds: Sequence[RoundEvent], *, in_use: bool, resumption: str, cause: str = ""
) -> tuple[str, str]:
    """starting, running, finished, stopped, diverged or ended early; and a note.

    `in_use`: a process holds the run's folder; `resumption`: the command that goes on with the run; `cause`: what
    ended it at once, as `RunFolder.read_cause` has it.
    """
    state, note = _told(life, rounds)
    if state in ("starting", "running") and not in_use:
        why = f"it was {cause}" if cause else "it was killed, or failed"
        return "ended early", f"No process runs it any more: {why}. It goes on with: {resumption}"
    return state, note


def _told(life: Sequence[LifeEvent], rounds: Sequence[RoundEvent]) -> tuple[str, str]:
    """What the newest event of a kind that tells says, and its note."""
    newest = next((event for event in reversed(life) if event.what in STANDINGS), None)
    if newest is None:
        return "starting", ""
    recovered = newest.what == "diverged" and bool(rounds) and rounds[-1].round > newest.round
    if newest.what in ("started", "resumed", "joined") or recovered:
        return "running", newest.note
    return newest.what, newest.note
