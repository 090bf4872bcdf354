"""A run of neighbouring steps that moves as training goes on (MixGRPO, arXiv 2507.21802, sec. 3.2)."""

from __future__ import annotations

from policies.diffusion.settings import WindowSettings


def window_at(window: WindowSettings, updates: int, steps: int) -> range:
    """The steps of the window after `updates` updates of the policy, within 0..steps-1.

    It follows training and nothing else: the same count gives the same window in a resumed run.
    """
    moves = updates // window.every if window.every else 0
    start = window.first + window.stride * moves
    if window.last is not None:
        start = min(start, window.last) if window.stride > 0 else max(start, window.last)
    start = min(max(start, 0), max(steps - window.size, 0))
    return range(start, min(start + window.size, steps))
