"""The tracker without a library: a JSON line for every round and evaluation, and one for every sample, bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node.report.samples import Sample
from node.storage.run_folder import write_atomic
from policies.plain_files import parse_json, read_text
from swarm.process import keep_private

NAME = "rounds.jsonl"
SAMPLES = "samples.jsonl"
MAX_BYTES = 20_000_000  # some 20,000 rounds
KEPT = 2  # full files beside the one that is written


class RoundsFile:
    """`rounds.jsonl` and `samples.jsonl`; a full one becomes `rounds.jsonl.1`, the one before it `.2`."""

    def __init__(self, folder: Path, first: int) -> None:
        """`first` is the round that comes next: later ones, which a resumed run plays again, are forgotten, and so is
        a line that a kill left unfinished. Raises OSError.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / NAME, folder / SAMPLES):
            if path.exists():
                lines = read_text(path, encoding="utf-8", errors="replace").splitlines(keepends=True)
                kept = [line for line in lines if line.endswith("\n") and _round_of(line) < first]
                if kept != lines:
                    write_atomic(path, "".join(kept), mode=0o600)

    def log(self, round_number: int, figures: Mapping[str, float]) -> None:
        """Appends one line. Raises OSError."""
        self._append(NAME, [{"round": round_number, "time": time.time(), **figures}])

    def log_samples(self, round_number: int, samples: Sequence[Sample]) -> None:
        """Appends a line each. Raises OSError."""
        self._append(SAMPLES, [{"round": round_number, **asdict(sample)} for sample in samples])

    def close(self) -> None:
        """Nothing is held open."""

    def _append(self, name: str, facts: Sequence[Mapping[str, Any]]) -> None:
        path = self._folder / name
        if path.exists() and path.stat().st_size > MAX_BYTES:
            _rotate(path)
        keep_private(path)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, allow_nan=False) + "\n" for line in facts)


def _rotate(path: Path) -> None:
    for number in range(KEPT, 0, -1):
        older = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        with suppress(FileNotFoundError):
            older.replace(path.with_name(f"{path.name}.{number}"))


def _round_of(line: str) -> float:
    """Infinite for what is no line of ours."""
    try:
        return float(parse_json(line)["round"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return float("inf")
