"""A silo's rounds in a process of its own, which tells what start, rounds and save took.

`python -m node.bench.round.child FILE shared|unshared ROUNDS RUN_FOLDER [OVERRIDE]...` writes a JSON object to FILE.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

PRESET = "smollm2"


def main() -> None:
    file, side, rounds, folder, *overrides = sys.argv[1:]
    Path(file).write_text(json.dumps(played(side, int(rounds), Path(folder), overrides)), encoding="utf-8")


def played(side: str, rounds: int, path: Path, overrides: list[str]) -> dict[str, Any]:
    """All in processor seconds of this process, but for phases, whose wall seconds only serve as shares."""
    from node.bench.kit.trained_node import next_round, no_progress
    from node.config.reading import load_config
    from node.config.roles import as_silo
    from node.runtime.build import build_node
    from node.runtime.loop import save
    from node.runtime.transports import build_transport
    from node.storage.run_folder import RunFolder
    from policies.text import scoring

    if side == "unshared":
        scoring.LEAST_SAVING_ON_CPU = scoring.LEAST_SAVING = math.inf  # type: ignore[assignment]
    folder = RunFolder(path)
    asked = ["seed=0", f"rounds={rounds}", *overrides]
    config = folder.create(as_silo(load_config(PRESET, asked, for_role=True)))
    node = build_node(config, folder, build_transport(config, folder), no_progress)
    start = time.process_time()
    events, seconds = [], []
    for _ in range(rounds):
        before = time.process_time()
        events.append(next_round(node))
        seconds.append(time.process_time() - before)
    before = time.process_time()
    save(node)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1000)
    return {
        "start": start,
        "rounds": seconds,
        "phases": [event.phases for event in events],
        "trained": [event.trained_local for event in events],
        "update_peaks": [event.update_peak_bytes for event in events],
        "save": time.process_time() - before,
        "peak": peak,
    }


if __name__ == "__main__":
    main()
