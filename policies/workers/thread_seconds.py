"""Processor seconds that a thread's work took: its own and its helper processes', and not those of others."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping
from typing import Any

_CHARGED = threading.local()  # `seconds` beside the thread's own; `since`: when a collection began in it


def thread_seconds() -> float:
    """CPU seconds of the calling thread, and of helper processes for what it asked of them.

    Whole garbage collections are left out: with torch loaded one takes 0.2 s, for what all threads made, and the
    thread that it happens to run in did nothing to deserve it.
    """
    return time.thread_time() + _charged()


def charge(seconds: float) -> None:
    """Counts what a helper process worked for the calling thread."""
    _CHARGED.seconds = _charged() + seconds


def _charged() -> float:
    return float(getattr(_CHARGED, "seconds", 0.0))


def _leave_out(phase: str, facts: Mapping[str, Any]) -> None:
    if facts["generation"] < 2:
        return
    if phase == "start":
        _CHARGED.since = time.thread_time()
    else:
        charge(_CHARGED.since - time.thread_time())


gc.callbacks.append(_leave_out)
