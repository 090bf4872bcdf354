"""One part in a process of its own, its figures printed as JSON: `python -m node.bench.gpu.part WHAT SHAPE DEVICE DIR`.

A part ends with its process, so that the next begins with the whole of the device's memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from node.bench.gpu.shapes import model_folder
from node.bench.kit.machine import synchronize
from node.bench.kit.options import BenchOptions
from node.bench.kit.registry import run_benchmark
from node.bench.kit.workloads import requests_for, taught_at_random
from policies.rollout import Problem
from policies.text.arithmetic import has_bfloat16, prepare_device
from policies.text.engine.memory_plan import PeakMeter, free_bytes
from policies.text.memory.configuration import read_configuration
from policies.text.memory.estimate import Load, estimate
from policies.text.memory.shape import shape_of
from policies.text.policy import TextPolicy
from policies.text.settings import GenerationSettings, LoraSettings, ModelSettings, TextSettings

ROOT = Path(__file__).parents[3]
REPEATS = 2
PROMPT = "9 " * 100


@dataclass(frozen=True, slots=True)
class Size:
    """What a round asks for."""

    rounds: int
    prompts: int
    group: int
    new_tokens: int


ROUND, DRY_ROUND = Size(4, 8, 16, 256), Size(2, 2, 2, 8)  # on a CPU only the way through is tried
TEST_SECONDS = 440


def tests(shape: str, device: torch.device, folder: Path) -> dict[str, Any]:
    """Whatever is marked `gpu`; on a CPU it is only collected."""
    report = folder / "tests.xml"
    report.unlink(missing_ok=True)
    how = [f"--junitxml={report}"] if device.type != "cpu" else ["--collect-only"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *how]
    # Without our own settings, which ask for plugins; another torch warns of other things.
    plain = ["-c", os.devnull, f"--rootdir={ROOT}"]
    done = subprocess.run(
        [*command, *plain, "tests/unit/text"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS,
        check=False,
    )
    if device.type == "cpu":
        names = [line for line in done.stdout.splitlines() if "::" in line]
        return {"collected": len(names), "names": names, "code": done.returncode}
    if not report.is_file():
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    cases = {
        f"{case.get('classname')}.{case.get('name')}": _outcome(case)
        for case in ElementTree.parse(report).getroot().iter("testcase")
    }
    return {"passed": sum(told == "passed" for told in cases.values()), "of": len(cases), "tests": cases}


def engine(shape: str, device: torch.device, folder: Path) -> dict[str, Any]:
    """Sampling beside TRL's path, `generate` and continuous batching, in bfloat16."""
    model = str(model_folder(shape, folder, device))
    cases = ("equal16",) if device.type == "cpu" else ("equal16", "one_prompt_128")
    return _benchmark(
        "engine", BenchOptions(model=model, cases=cases, dtypes=("bfloat16",), repeats=_repeats(device))
    )


def step(shape: str, device: torch.device, folder: Path) -> dict[str, Any]:
    """An update beside TRL's own step."""
    model = str(model_folder(shape, folder, device))
    return _benchmark("step", BenchOptions(model=model, cases=("prompt256",), repeats=_repeats(device)))


def whole_round(shape: str, device: torch.device, folder: Path) -> dict[str, Any]:
    """Rounds of an adapter's training: seconds and peak memory of each half, beside the memory plan."""
    cuda = device.type == "cuda"
    size = ROUND if cuda else DRY_ROUND
    model = ModelSettings(
        path=str(model_folder(shape, folder, device)),
        dtype="bfloat16" if cuda else "float32",
        lora=LoraSettings(),
    )
    settings = TextSettings(generation=GenerationSettings(max_new_tokens=size.new_tokens))
    settings = settings.settled(rounds=size.rounds, bfloat16=has_bfloat16(device))
    policy = TextPolicy.from_settings(model, settings, device)
    problems = [Problem("gpu@1", seed, f"{seed} {PROMPT}", "") for seed in range(size.prompts)]
    prompt = len(policy._encoding.prompt(problems[0].prompt))
    load = Load(size.prompts, size.group, prompt, size.new_tokens)
    planned = estimate(
        shape_of(read_configuration(model), model, autocast=settings.trainer.bf16 is True),
        model,
        policy._settings,  # its micro-batches are the card's
        load,
        free_bytes(device),
        cuda=cuda,
    )
    rounds = [_one_round(policy, problems, size.group, device) for _ in range(size.rounds)]
    return {"size": asdict(size), "plan": asdict(planned) | {"peak": planned.peak}, "rounds": rounds}


def _one_round(
    policy: TextPolicy, problems: Sequence[Problem], group: int, device: torch.device
) -> dict[str, Any]:
    start = time.perf_counter()
    meter = PeakMeter(device)
    rollouts = policy.sample(requests_for(problems, group))
    synchronize(device)
    sampled = time.perf_counter()
    meter.read()
    sampling_peak, meter = meter.peak, PeakMeter(device)
    report = policy.update(taught_at_random(problems, rollouts))
    synchronize(device)
    meter.read()
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    return {
        "tokens": tokens,
        "sampling_seconds": sampled - start,
        "update_seconds": time.perf_counter() - sampled,
        "sampling_peak": sampling_peak,
        "update_peak": meter.peak,
        "update": asdict(report) if report else None,
    }


PARTS: Mapping[str, Callable[[str, torch.device, Path], dict[str, Any]]] = {
    "tests": tests,
    "engine": engine,
    "step": step,
    "round": whole_round,
}


def _benchmark(name: str, options: BenchOptions) -> dict[str, Any]:
    found: dict[str, Any] = run_benchmark(name, options, lambda line: None).as_json()
    return found


def _repeats(device: torch.device) -> int:
    return 1 if device.type == "cpu" else REPEATS


def _outcome(case: ElementTree.Element) -> str:
    fault = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    return "passed" if fault is None else f"{fault.tag}: {(fault.get('message') or '')[:300]}"


if __name__ == "__main__":
    what, shape_name, device_name, kept = sys.argv[1:5]
    chosen = torch.device(device_name)
    prepare_device(chosen)
    figures = PARTS[what](shape_name, chosen, Path(kept))
    sys.stdout.write("\n" + json.dumps(figures) + "\n")
