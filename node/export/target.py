"""The folder that an export is written to, looked at before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from node.export.errors import ExportError


def refuse_taken(folder: Path) -> None:
    """Raises ExportError where something is in the way."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ExportError(f"{folder} is there and not empty: name a new folder, or move it away")
