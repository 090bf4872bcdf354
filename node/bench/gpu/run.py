"""`murmur bench gpu`: what is marked `gpu`, then engine, step and round of each shape, a process each.

A part that is finished is kept in the folder and not run again, so that a call which was cut off goes on where it was.
A part that fails is told with its last words, and the others go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch

from node.bench.kit.machine import machine_facts
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.storage.run_folder import write_atomic
from policies.plain_files import parse_json, read_json

FOLDER = Path("build") / "gpu-proof"
RESULT = "gpu-proof.json"
DEVICES = ("cuda", "cpu")  # cpu: tiny shapes, to try the way through without a GPU
LARGE, TINY = ("0.1B", "0.5B", "1.5B"), ("tiny",)
MEASURED = ("engine", "step", "round")
PART_SECONDS = 470  # under eight minutes
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "tokenizers", "numpy")


def run(options: BenchOptions, progress: Progress) -> Report:
    """Raises BenchError without a GPU, or Interrupted with what there is on Ctrl-C."""
    device = options.device or "cuda"
    refuse_unknown("device", [device], DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError(
            "torch sees no GPU here: --device cpu tries the way through with tiny shapes, and proves no speed"
        )
    parts = dict(parts_of(device))
    refuse_unknown("case", options.cases, parts)
    folder = (options.folder or FOLDER).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**machine_facts(torch.device(device)), **options.machine, "device": device, **versions()}
    rows: list[Row] = []
    try:
        for name in options.cases or parts:
            rows.append(_row(name, _part(name, parts[name], device, folder, progress)))
            _write(folder, facts)
    except KeyboardInterrupt:
        raise Interrupted(_report(facts, rows)) from None
    progress(f"{folder / RESULT} holds it all")
    return _report(facts, rows)


def parts_of(device: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Names of the parts, and of each what it does and at which shape."""
    yield "tests", ("tests", "tiny")
    for shape in TINY if device == "cpu" else LARGE:
        for what in MEASURED:
            yield f"{what}-{shape}", (what, shape)


def versions() -> dict[str, str]:
    """Of the libraries, and which of them are others than murmur asks for."""
    from packaging.requirements import Requirement

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    try:
        asked = [Requirement(line) for line in requires("murmuration") or ()]
    except PackageNotFoundError:  # run from its folder
        asked = []
    others = [
        f"{need.name} {found[need.name]}, asked for {need.specifier}"
        for need in asked
        if found.get(need.name, "none") != "none"
        and not need.specifier.contains(found[need.name].partition("+")[0])
    ]
    return {**found, "python": sys.version.split()[0], "other_versions": "; ".join(others) or "none"}


def _part(
    name: str, what: tuple[str, str], device: str, folder: Path, progress: Progress
) -> Mapping[str, Any]:
    """What the part came to, kept in the folder; one that failed is run again by the next call."""
    file = folder / f"{name}-{device}.json"
    if file.is_file():
        kept: dict[str, Any] = read_json(file)
        if "fault" not in kept:
            progress(f"{name}: kept from before")
            return kept
    progress(f"{name}: at most {PART_SECONDS // 60} minutes")
    start = time.monotonic()
    command = [sys.executable, "-m", "node.bench.gpu.part", *what, device, str(folder)]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command,
            env=os.environ | hidden | offline,
            capture_output=True,
            text=True,
            timeout=PART_SECONDS,
            check=False,
        )
        found = _figures(done)
    except subprocess.TimeoutExpired:
        found = {"fault": f"it took over {PART_SECONDS} s"}
    found["wall_seconds"] = time.monotonic() - start
    write_atomic(file, json.dumps(found))
    return found


def _figures(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if done.returncode:
        return {
            "fault": (done.stderr.strip() or done.stdout.strip())[-3000:]
            or f"it ended with {done.returncode}"
        }
    found: dict[str, Any] = parse_json(done.stdout.splitlines()[-1])
    return found


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    """The one file: versions, the card, and every part that the folder holds for this device."""
    device = facts["device"]
    parts = {
        path.stem.removesuffix(f"-{device}"): read_json(path)
        for path in sorted(folder.glob(f"*-{device}.json"))
    }
    whole = {
        "machine": dict(facts),
        "parts": parts,
        "complete": set(parts) >= {name for name, _ in parts_of(device)},
    }
    write_atomic(folder / RESULT, json.dumps(whole, indent=1))


def _row(name: str, found: Mapping[str, Any]) -> Row:
    fault = str(found.get("fault", "")).strip().splitlines()
    return {"part": name, "seconds": float(found["wall_seconds"]), "fault": fault[-1] if fault else None}


def _report(facts: Mapping[str, Any], rows: list[Row]) -> Report:
    """Whether every part came to its end; what they measured is in the file."""
    ended = [float(row["fault"] is None) for row in rows]
    checks = [Check.of("parts_ended", [sum(ended) / len(ended)], floor=1.0)] if ended else []
    return Report("gpu", dict(facts), [0], rows, checks)
