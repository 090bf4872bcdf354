"""One policy in a process of its own: what it holds, and the most that sampling and an update take.

`python -m node.bench.memory.work KIND full|lora` prints one JSON object of planned and measured bytes.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from node.bench.families.models import make_model
from node.bench.kit.workloads import requests_for, taught_at_random
from policies.rollout import Problem
from policies.text.engine.memory_plan import free_bytes
from policies.text.memory.estimate import Load, estimate
from policies.text.memory.shape import shape_of
from policies.text.model import attach_lora
from policies.text.policy import TextPolicy
from policies.text.settings import (
    GenerationSettings,
    LoraSettings,
    ModelSettings,
    TextSettings,
    TrainerSettings,
)
from policies.text.tokenizer import build_tokenizer

SCALE, VOCABULARY = 12, 8192  # some 20 million numbers: large beside what a process takes anyhow
GROUPS, GROUP, PROMPT, NEW_TOKENS = 2, 8, "9 " * 30, 64
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main(kind: str, trained: str) -> None:
    lora = LoraSettings() if trained == "lora" else None
    settings = TextSettings(
        generation=GenerationSettings(max_new_tokens=NEW_TOKENS, arithmetic="float32"),
        trainer=TrainerSettings(token_budget=2048),
    ).settled()
    warm = TextPolicy(make_model(kind, VOCABULARY), build_tokenizer(), settings)
    _round(warm)  # libraries load what they load on their first use
    del warm
    gc.collect()
    before, free = held(), free_bytes(torch.device("cpu"))
    model = make_model(kind, VOCABULARY, scale=SCALE)
    config = model.config
    policy = TextPolicy(attach_lora(model, lora, 0) if lora else model, build_tokenizer(), settings)
    del model
    gc.collect()
    measured = {"held": held() - before}
    for _ in range(2):  # the optimiser makes its state at the end of the first update
        sampling, update, prompt = _round(policy)
    measured |= {"sampling": sampling - before, "update": update - before}
    chosen = ModelSettings(path="random", lora=lora)
    load = Load(GROUPS, GROUP, prompt, NEW_TOKENS)
    planned = estimate(shape_of(config, chosen), chosen, settings, load, free)
    sys.stdout.write(json.dumps({"measured": measured, "planned": asdict(planned) | {"peak": planned.peak}}))


def _round(policy: TextPolicy) -> tuple[int, int, int]:
    """Peaks while it samples and while it updates, and the tokens of a prompt."""
    problems = [Problem("memory@1", seed, f"{seed} {PROMPT}", "") for seed in range(GROUPS)]
    reset_peak()
    rollouts = policy.sample(requests_for(problems, GROUP))
    sampling = peak()
    reset_peak()
    policy.update(taught_at_random(problems, rollouts))
    return sampling, peak(), len(policy._encoding.prompt(problems[0].prompt))


def held() -> int:
    """Bytes of the process that lie in memory."""
    return _of_status("VmRSS")


def peak() -> int:
    """The most since `reset_peak`, in bytes."""
    return _of_status("VmHWM")


def reset_peak() -> None:
    gc.collect()
    PEAK_RESET.write_text("5")


def _of_status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:3])
