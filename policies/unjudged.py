"""Reasons for which a text has no verdict: said in the log, and kept for whoever scores and names them to the owner."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

logger = logging.getLogger(__name__)

WANTED: Final = "a scorer returns a number from 0 to 1 for any text, soon, and raises nothing"
SHOWN = 60  # characters of a text in a reason

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def tell_unjudged(who: str, completion: str, why: str, answer: str | None = None) -> None:
    """`who` has no verdict on a completion, to the row of this answer where there are rows."""
    row = "" if answer is None else f" where {shown(answer)} is right"
    reason = f"{who}, on {shown(completion)}{row}: {_one_line(why)}"
    logger.warning("no verdict of %s", reason)
    heard = _heard.get()
    if heard is not None:
        heard.append(reason)


@contextmanager
def reasons_heard() -> Iterator[list[str]]:
    """The reasons of what is scored inside, in their order; of this thread's scoring alone."""
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def shown(text: str) -> str:
    """A text's end in ASCII: the end is what verifiers read, and nothing of it moves a cursor."""
    return ascii(text if len(text) <= SHOWN else f"...{text[-SHOWN:]}")


def _one_line(words: str) -> str:
    """An error's words may hold the completion, which moves no cursor and turns no line round."""
    plain = (
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode()
        for c in " ".join(words.split())
    )
    return "".join(plain)
