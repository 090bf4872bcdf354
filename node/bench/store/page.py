"""`murmur bench page`: how long the dashboard's first look takes on a run of 100,000 rollouts, and a look for news.

The run is written as a node writes one: a round's event, its problems, peers and rollouts. The page's server answers
over loopback from a cold start.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Final

from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.bench.store.run import LISTING_S, PAGE_S, ROUNDS, WHOLE, WRITING_MS, fill
from node.config.reading import load_config
from node.storage.run_folder import RunFolder
from node.web.server import DashboardServer

FIRST: Final = ("", "main.js", "vendor/uPlot.iife.min.js", "page.css", "data.json")
PEER: Final = "12D3KooWBenchPeer1"
REPEATS: Final = 3


def run(options: BenchOptions, progress: Progress) -> Report:
    """Writes a long run, serves it, and asks for each screen. Raises Interrupted."""
    rounds = options.rounds or ROUNDS
    rows: list[Row] = []
    checks: list[Check] = []
    try:
        with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
            progress(f"writing {rounds} rounds with their events")
            run_folder = RunFolder(Path(folder) / "run-1")
            run_folder.create(load_config("tiny", [f"rounds={rounds}"]))
            writing = fill(run_folder.events, WHOLE, rounds, events=True)
            checks.append(Check.of("ms of CPU a round", writing, ceiling=WRITING_MS))
            progress("opening the page")
            checks += _served(run_folder, rounds // 2)
            rows.append({"rounds": rounds, "file_bytes": run_folder.events.stat().st_size})
    except KeyboardInterrupt:
        raise Interrupted(Report("page", options.machine, [0], rows, checks)) from None
    return Report("page", options.machine, [0], rows, checks)


def _served(folder: RunFolder, amid: int) -> list[Check]:
    """Seconds of the first look, each with a server of its own, and of what a reader asks for then."""
    first, news, processor = [], [], []
    asked: dict[str, list[float]] = {}
    questions = {
        "rollouts": "rollouts.json",
        "rollouts of a task, worst first": "rollouts.json?task=task3&order=worst",
        "one round": f"round.json?round={amid}",
        "one peer": f"peer.json?peer={PEER}",
    }
    for _ in range(REPEATS):
        with closing(DashboardServer(folder, 0)) as server:
            began = time.process_time()
            first.append(sum(_seconds(f"{server.url}{path}") for path in FIRST))
            processor.append(time.process_time() - began)
            news.append(_seconds(f"{server.url}data.json"))
            for name, path in questions.items():
                asked.setdefault(name, []).append(_seconds(f"{server.url}{path}"))
    checks = [
        Check.of("the page's first look, s", first, ceiling=PAGE_S),
        Check.of("the page's first look, CPU s", processor),  # which a busy machine does not change
        Check.of("a look for news, s", news),
    ]
    return checks + [Check.of(f"{name}, s", spent, ceiling=LISTING_S) for name, spent in asked.items()]


def _seconds(address: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(address, timeout=60) as answer:
        answer.read()
    return time.perf_counter() - began
