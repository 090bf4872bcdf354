"""The base of every settings class: a frozen value that refuses keys it does not know."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def absolute_if_local(path: str) -> str:
    """The absolute path of a file or folder; names of hub repositories and packages pass through.

    A path that is there, or is written as only paths are (`./x`, `~/x`, `/x`), is a file's or folder's.
    """
    local = Path(path).expanduser()
    return str(local.absolute()) if path.startswith((".", "~", "/")) or local.exists() else path
