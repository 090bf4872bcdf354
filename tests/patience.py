"""Patience with real peers: each try has the product's own time limits, which a busy machine may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from swarm.errors import FetchFailed

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE = 60.0  # seconds that a loaded machine may take for anything


def until_answered(ask: Callable[P, T], *asked: P.args, **named: P.kwargs) -> T:
    """What `ask` gives, asked again after each failed fetch, as a node does. Raises the last FetchFailed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask(*asked, **named)
        except FetchFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
