"""`murmur bench families`: tiny random models of today's families, and the path that each takes through a policy."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from node.bench.families.measure import FamilyRun, Measured
from node.bench.families.models import FAMILIES, RECURRENT, is_known
from node.bench.families.page import page_text
from node.bench.kit.machine import machine_facts
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.storage.run_folder import write_atomic
from policies.policy import PolicyError
from policies.text.agreement import EXACT

REPEATS = 3
SHARED = "shared prompt"


def run(options: BenchOptions, progress: Progress) -> Report:
    """One family after another. Raises BenchError, or Interrupted with what there is on Ctrl-C."""
    import torch

    refuse_unknown("family", options.cases, FAMILIES)
    machine = dict(options.machine or machine_facts(torch.device("cpu"))) | versions()
    seeds = range(options.repeats or REPEATS)
    rows: list[Row] = []
    try:
        for name in options.cases or FAMILIES:
            progress(f"{name}: made, trained and sampled")
            rows.append(measure_family(name, FAMILIES[name], seeds))
    except KeyboardInterrupt:
        raise Interrupted(Report("families", machine, list(seeds), rows, checks_of(rows))) from None
    report = Report("families", machine, list(seeds), rows, checks_of(rows))
    if options.page is not None:
        write_page(options.page, report)
    return report


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("transformers", "trl")}


def measure_family(name: str, kind: str, seeds: Sequence[int]) -> Row:
    """One row, of the same columns whatever came of the family."""
    if not is_known(kind):
        return _row(name, "absent", "absent", None, f"transformers has no {kind}")
    try:
        found = FamilyRun(kind).measure(seeds)
    except PolicyError as refused:
        return _row(name, "refused", "refused", None, str(refused))
    reasons = {"sampling": found.sampling_refusal, "training": found.training_refusal}
    why = "; ".join(f"{what}: {reason}" for what, reason in reasons.items() if reason)
    return _row(name, found.sampling, found.training, found, why or None)


def checks_of(rows: Iterable[Row]) -> list[Check]:
    """The figures of issue and page: shares of families without recurrent states, exactness, and speed."""
    present = [row for row in rows if row["sampling"] != "absent"]
    plain = [row for row in present if row["family"] not in RECURRENT]
    run = [row for row in present if row["sampling"] != "refused"]
    taken = [row for row in run if row["sampling"] == "engine"]
    checks = []
    if plain:
        engine = [float(row["sampling"] == "engine") for row in plain]
        step = [float(row["training"] == SHARED) for row in plain]
        checks += [_share("engine_taken", engine), _share("step_taken", step)]
    if run:
        checks.append(_share("exact", [float(bool(row["exact"])) for row in run]))
    if taken:
        medians = [float(str(row["over_generate"])) for row in taken]
        lows, highs = ([float(str(row[f"over_generate_{end}"])) for row in taken] for end in ("low", "high"))
        checks.append(
            Check("speed_vs_generate", "generate: 1", min(medians), min(lows), max(highs), floor=1.0)
        )
    return checks


def write_page(path: Path, report: Report) -> None:
    write_atomic(path, page_text(report))


def _share(name: str, figures: Sequence[float]) -> Check:
    return Check(name, "-", statistics.fmean(figures), min(figures), max(figures), floor=1.0)


def _row(name: str, sampling: str, training: str, found: Measured | None, why: str | None) -> Row:
    ratios = found.ratios if found else (None,)
    known = [ratio for ratio in ratios if ratio is not None]
    return {
        "family": name,
        "sampling": sampling,
        "training": training,
        "exact": is_exact(found) if found else None,
        "sampled_off": found.sampled_off if found else None,
        "trained_off": found.trained_off if found else None,
        "greedy_equal": found.greedy_equal if found else None,
        "over_generate": statistics.median(known) if known else None,
        "over_generate_low": min(known, default=None),
        "over_generate_high": max(known, default=None),
        "tokens_per_s": found.tokens_per_s if found else None,
        "why": why,
    }


def is_exact(found: Measured) -> bool:
    """Whether sampler, training step, plain pass and `generate` are one policy, up to what float32 rounds."""
    return found.greedy_equal and max(found.sampled_off, found.trained_off) < EXACT.mean
