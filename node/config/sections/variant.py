"""Sections of several kinds: the one that `type` names, and the usual one where it is left out."""

from __future__ import annotations

from typing import Any

from pydantic import Discriminator


def type_or(default: str) -> Discriminator:
    """Picks the variant by its `type`, and `default` where a section leaves it out."""

    def variant(value: Any) -> Any:
        return value.get("type", default) if isinstance(value, dict) else getattr(value, "type", None)

    return Discriminator(variant)
