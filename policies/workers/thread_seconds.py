"""Processor seconds that a thread's work took: its own and its helper processes', and not those of others."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CHARGED = threading.local()  # `seconds` of helper processes, for what the thread asked of them


def thread_seconds() -> float:
    """CPU seconds of the calling thread, and of helper processes for what it asked of them."""
    return time.thread_time() + _charged()


def charge(seconds: float) -> None:
    """Counts what a helper process worked for the calling thread."""
    _CHARGED.seconds = _charged() + seconds


@contextmanager
def collections_held_back() -> Iterator[None]:
    """No garbage collection begins meanwhile by itself.

    With torch loaded a whole one takes 0.2 s, for what all threads made, and would count for the one that it happens
    to run in. Callbacks of `gc` could leave it out, but an exception of a signal that comes in one of them is lost.
    """
    held = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if held:
            gc.enable()


def _charged() -> float:
    return float(getattr(_CHARGED, "seconds", 0.0))
