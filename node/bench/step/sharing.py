"""Our update with prompts shared against our update without, on a round's groups: equal loss, equal gradient."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from copy import deepcopy

from node.bench.kit.machine import best_device, synchronize
from node.bench.kit.report import Check, Progress, Row
from node.bench.step.cases import StepCase, draw_rows
from policies.text import model as models
from policies.text.settings import LoraSettings, ModelSettings, TrainerSettings
from policies.text.trainer import GroupTrainer, Step

# A round of the preset `smollm2`: groups of 8 behind prompts of 36 tokens, which train an adapter.
GROUPS = 6
SHARING_CASE = StepCase(
    "prompt36_groups8", prompt_tokens=36, new_tokens=12, rollouts=8, batch_rows=8, floor=1.8
)
# Float rounding in sums of another order, as a share.
SAME_LOSS, SAME_GRADIENT = 1e-3, 1e-3
LEARNING_RATE = 1e-6  # leaves the weights about as they are, so that every pair does the same work


class UnsharedTrainer(GroupTrainer):
    """Computes a prompt once for every rollout behind it, as everybody does."""

    @property
    def least_saving(self) -> float:
        return math.inf


def measure_sharing(
    model: str, seeds: Sequence[int], progress: Progress, case: StepCase = SHARING_CASE, groups: int = GROUPS
) -> tuple[list[Row], list[Check]]:
    """One pair a seed, in float32; who goes first alternates. Processor seconds where torch has one thread."""
    device = best_device()
    loaded, tokenizer = models.load(ModelSettings(path=model, lora=LoraSettings()), device)
    vocabulary = loaded.config.get_text_config().vocab_size
    settings = TrainerSettings(learning_rate=LEARNING_RATE, bf16=False)
    copy = deepcopy(loaded)  # before TRL binds a forward pass to the model
    sides = {
        "ours": GroupTrainer(loaded, tokenizer, settings, 1.0, 0),
        "unshared": UnsharedTrainer(copy, tokenizer, settings, 1.0, 0),
    }
    for trainer in sides.values():  # the first optimiser step makes the optimiser's state
        trainer.step(draw_rows(case, 0, vocabulary)[:2])
    pairs: list[Row] = []
    for seed in seeds:
        rows = [row for group in range(groups) for row in draw_rows(case, seed * groups + group, vocabulary)]
        seconds: dict[str, float] = {}
        steps: dict[str, Step] = {}
        for name in sorted(sides, reverse=bool(seed % 2)):
            start = time.process_time()
            steps[name] = sides[name].step(rows)
            synchronize(device)
            seconds[name] = time.process_time() - start
        pairs.append(_row(case, seed, seconds, steps))
        progress(f"{case.name} seed {seed}: {seconds['ours']:.1f} CPU-s, unshared {seconds['unshared']:.1f}")
    return pairs, _checks(case, pairs)


def _row(case: StepCase, seed: int, seconds: dict[str, float], steps: dict[str, Step]) -> Row:
    ours, other = steps["ours"], steps["unshared"]
    return {
        "case": case.name,
        "seed": seed,
        "ours_cpu_s": seconds["ours"],
        "unshared_cpu_s": seconds["unshared"],
        "ratio": seconds["unshared"] / seconds["ours"],
        "ours_micro_batches": ours.accumulated.micro_batches,
        "unshared_micro_batches": other.accumulated.micro_batches,
        "loss_difference": abs(ours.accumulated.loss - other.accumulated.loss),
        "gradient_difference": abs(ours.grad_norm / other.grad_norm - 1.0),
        "ours_peak_mb": ours.peak_bytes / 1e6,
        "unshared_peak_mb": other.peak_bytes / 1e6,
    }


def _checks(case: StepCase, pairs: Sequence[Row]) -> list[Check]:
    def figures(column: str) -> list[float]:
        return [float(str(pair[column])) for pair in pairs]

    return [
        Check.of(case.name, figures("ratio"), floor=case.floor),
        Check.of(f"{case.name}_loss", figures("loss_difference"), ceiling=SAME_LOSS),
        Check.of(f"{case.name}_gradient", figures("gradient_difference"), ceiling=SAME_GRADIENT),
    ]
