"""The base of every settings class: a frozen value that refuses keys it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

LARGEST = 2**63 - 1  # whole number that torch, SQLite and numpy all hold


class Settings(BaseModel):
    """Frozen, and refuses keys it does not know, numbers that are not finite, and those that no library holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"must be at most {LARGEST}; it is {value:.3e}")
        return value


def absolute_if_local(path: str) -> str:
    """The absolute path of a file or folder; names of hub repositories and packages pass through.

    A path that is there, or is written as only paths are (`./x`, `~/x`, `/x`), is a file's or folder's.
    """
    local = Path(path).expanduser()
    return str(local.absolute()) if path.startswith((".", "~", "/")) or local.exists() else path
