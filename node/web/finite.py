"""Data for JSON, which has no infinity: figures that are not finite become None."""

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
