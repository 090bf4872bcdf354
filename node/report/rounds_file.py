"""The tracker without a library: a JSON line for every round and evaluation, bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from node.storage.run_folder import write_atomic
from swarm.process import keep_private

NAME = "rounds.jsonl"
MAX_BYTES = 20_000_000  # some 20,000 rounds
KEPT = 2  # full files beside the one that is written


class RoundsFile:
    """`rounds.jsonl`; a full one becomes `rounds.jsonl.1`, the one before it `.2`."""

    def __init__(self, folder: Path, first: int) -> None:
        """`first` is the round that comes next: later ones, which a resumed run plays again, are forgotten, and so is
        a line that a kill left unfinished. Raises OSError.
        """
        self._path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _round_of(line) < first]
            if kept != lines:
                write_atomic(self._path, "".join(kept), mode=0o600)

    def log(self, round_number: int, figures: Mapping[str, float]) -> None:
        """Appends one line. Raises OSError."""
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._rotate()
        line = json.dumps({"round": round_number, "time": time.time(), **figures}, allow_nan=False)
        keep_private(self._path)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def close(self) -> None:
        """Nothing is held open."""

    def _rotate(self) -> None:
        for number in range(KEPT, 0, -1):
            older = self._path.with_name(f"{NAME}.{number - 1}") if number > 1 else self._path
            with suppress(FileNotFoundError):
                older.replace(self._path.with_name(f"{NAME}.{number}"))


def _round_of(line: str) -> float:
    """Infinite for what is no line of ours."""
    try:
        return float(json.loads(line)["round"])
    except (ValueError, TypeError, KeyError):
        return float("inf")
