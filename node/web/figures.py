"""Figures as the page has them: plain for JSON, which has no infinity, and lengths of time in one form.

The page's scripts write times in the same form (`elements.js`).
"""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same in dicts with text keys, lists and plain values."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value


def span(seconds: float) -> str:
    """`340 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: two units at most, no needless decimals."""
    if seconds <= 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "< 1 ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < 3600:
        return _two(whole, 60, "min", "s")
    if (minutes := round(seconds / 60)) < 24 * 60:
        return _two(minutes, 60, "h", "min")
    return _two(round(seconds / 3600), 24, "d", "h")


def _two(count: int, parts: int, large: str, small: str) -> str:
    whole, rest = divmod(count, parts)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
