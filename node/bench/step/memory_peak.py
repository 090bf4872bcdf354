"""The memory case of `murmur bench step`: one prompt's rollouts by the hundred, each count in a process of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from typing import ParamSpec, TypeVar

from node.bench.kit.machine import best_device
from node.bench.kit.peak_memory import PeakMemory
from node.bench.kit.report import Check, Progress, Row
from node.bench.step.cases import StepCase, draw_rows
from policies.text import model as models
from policies.text.batching import cost
from policies.text.settings import ModelSettings, TrainerSettings
from policies.text.trainer import GroupTrainer

MEBI = 2**20
P = ParamSpec("P")
T = TypeVar("T")
# 16 rollouts fill a micro-batch; more of them make more micro-batches, and must not take more memory.
MEMORY_CASE = StepCase("memory_512", prompt_tokens=57, new_tokens=32, rollouts=16, batch_rows=16)
COUNTS = (16, 64, 512)
CEILING = 1.15


def measure_memory(model: str, bf16: bool, progress: Progress) -> tuple[list[Row], list[Check]]:
    """Peak memory beyond the loaded model for each of COUNTS: gradients, optimiser and activations."""
    rows = []
    for count in COUNTS:
        progress(f"memory: {count} rollouts")
        # A new process: memory that an earlier measurement has freed would hide what this one takes.
        rows.append(in_own_process(peak_of_step, model, bf16, count))
    peaks = {row["rollouts"]: float(str(row["peak_mib"])) for row in rows}
    ratio = peaks[COUNTS[-1]] / peaks[COUNTS[0]]
    return rows, [Check.of(MEMORY_CASE.name, [ratio], ceiling=CEILING)]


def in_own_process(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """The result of `function` in a new process, killed on an interrupt: SIGTERM comes to the parent alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        try:
            return process.submit(function, *arguments, **options).result()
        except KeyboardInterrupt:
            for child in active_children():
                child.kill()
            raise


def peak_of_step(model: str, bf16: bool, rollouts: int) -> Row:
    """One update of our trainer on `rollouts` completions of a prompt."""
    device = best_device()
    loaded, tokenizer = models.load(ModelSettings(path=model), device)
    rows = draw_rows(MEMORY_CASE, 0, loaded.config.get_text_config().vocab_size)
    budget = math.ceil(cost(rows, rows[0].prompt_ids))
    settings = TrainerSettings(learning_rate=1e-6, token_budget=budget, bf16=bf16)
    trainer = GroupTrainer(loaded, tokenizer, settings, 1.0, 0)
    rows = [rows[index % len(rows)] for index in range(rollouts)]
    start = time.perf_counter()
    with PeakMemory(device) as memory:
        step = trainer.step(rows)
    return {
        "case": MEMORY_CASE.name,
        "rollouts": rollouts,
        "micro_batches": step.accumulated.micro_batches,
        "peak_mib": memory.peak / MEBI,
        "seconds": time.perf_counter() - start,
    }
