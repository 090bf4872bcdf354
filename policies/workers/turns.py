"""Turns: a lock that goes to the node's own work before it goes to work for peers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_HERE = threading.local()  # `for_peers`: whether the calling thread works on what peers sent


@contextmanager
def for_peers() -> Iterator[None]:
    """What the calling thread asks of workers in this block gives way to what others ask."""
    before, _HERE.for_peers = _works_for_peers(), True
    try:
        yield
    finally:
        _HERE.for_peers = before


def _works_for_peers() -> bool:
    return bool(getattr(_HERE, "for_peers", False))


class Turns:
    """Held by one thread at a time. Own work waits for the question under way at most."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = False
        self._own = 0  # threads that wait for own work

    @property
    def held(self) -> bool:
        return self._held

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._changed:
            own = not _works_for_peers()
            self._own += own
            try:
                self._changed.wait_for(lambda: not self._held and (own or not self._own))
            finally:
                self._own -= own
            self._held = True
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()
