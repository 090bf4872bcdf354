"""Rows and checks of `murmur bench engine`: medians, ratios of pairs, and shares of what the machine could do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from node.bench.kit.machine import GIGA, Limits
from node.bench.kit.report import Check, Row
from node.bench.kit.workloads import CASES, Played

ENGINE = "engine"
PRODUCTS = "products"  # the library's matrix products alone, which do no rollouts
RIVALS = ("generate", "batching", "int8", "ctranslate2", "ctranslate2_int8", "trl", PRODUCTS)
FINE = ("generate", "batching", "trl")  # those whose log-probs are within 0.05 nats of the policy's
FINE_WHERE_INSTALLED = ("ctranslate2",)  # and of those that an extra brings
BEST_RIVAL_FLOOR = 1.1  # over the fastest of them
# Cases whose share of the library's products is checked, and the least of it.
PRODUCT_SHARES = {"equal16": ("matmul_share16", 0.6), "one_prompt_128": ("matmul_share128", 0.8)}
ITEM_BYTES = {"float32": 4, "bfloat16": 2}
CHECKED_DTYPE = "bfloat16"


@dataclass(frozen=True, slots=True)
class Timing:
    """One measured run of one contender."""

    case: str
    contender: str  # `engine` or one of RIVALS
    plan: str | None  # of the engine
    dtype: str  # of the weights
    arithmetic: str  # that products were computed in
    seed: int  # runs of one case and seed are pairs: they were measured side by side
    seconds: float
    played: Played

    @property
    def seconds_a_rollout(self) -> float:
        return self.seconds / len(self.played.finished)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model's token costs at least."""

    weights: int  # that a token is multiplied with
    kv_values: int  # kept for one token in all layers

    @classmethod
    def of(cls, model: PreTrainedModel) -> Cost:
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        weights = sum(parameter.numel() for parameter in model.parameters())
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        looked_up = 0 if head is table else table.numel()
        return cls(weights - looked_up, 2 * config.num_hidden_layers * heads * width)

    def matmul_share(self, timing: Timing, limits: Limits) -> float:
        """Two operations a weight and token; each distinct prompt once. Attention is left out."""
        operations = 2 * self.weights * (timing.played.tokens + timing.played.prompt_tokens)
        return operations / timing.seconds / GIGA / limits.matmul_gflop_s[timing.arithmetic]

    def bandwidth_share(self, timing: Timing, limits: Limits) -> float:
        """The weights once a step and every key and value once a token that attends to it."""
        values = self.weights * timing.played.steps + self.kv_values * timing.played.context
        return values * ITEM_BYTES[timing.arithmetic] / timing.seconds / GIGA / limits.read_gb_s


def rows_of(timings: Sequence[Timing], cost: Cost, limits: Limits) -> list[Row]:
    """One row a case, weight type and contender, of medians over its runs, in the order of first measurement."""
    order = {_who(timing): None for timing in timings}
    return [
        _row([timing for timing in timings if _who(timing) == who], timings, cost, limits) for who in order
    ]


def checks_of(timings: Sequence[Timing]) -> list[Check]:
    """The bars of the cases that were measured with bfloat16 weights against TRL's path."""
    chosen = [timing for timing in timings if timing.dtype == CHECKED_DTYPE]
    checks = []
    for plan in (plan for case in CASES for plan in case.plans if plan.floor is not None):
        figures = ratios("trl", [timing for timing in chosen if timing.plan == plan.name], chosen)
        if figures and plan.floor is not None:
            checks.append(Check.of(plan.name, figures, paper="TRL 1.16: 1", floor=plan.floor))
    return [*checks, *_share_checks(chosen), *_best_rival(chosen)]


def _share_checks(timings: Sequence[Timing]) -> list[Check]:
    """The products' seconds over ours."""
    checks = []
    for case, (name, floor) in PRODUCT_SHARES.items():
        ours = [timing for timing in timings if timing.plan == case]
        if figures := ratios(PRODUCTS, ours, timings):
            checks.append(Check.of(name, figures, paper="the library's products alone: 1", floor=floor))
    return checks


def _best_rival(timings: Sequence[Timing]) -> list[Check]:
    """Of the first run, which all of FINE play: the seconds of the fastest over ours."""
    first = [timing for timing in timings if timing.seed == 0]
    ours = [timing for timing in first if timing.plan == "equal16"]
    found = {name: ratios(name, ours, first) for name in FINE}
    if not all(found.values()):
        return []
    found |= {name: played for name in FINE_WHERE_INSTALLED if (played := ratios(name, ours, first))}
    best = min(found, key=lambda name: found[name][0])
    return [Check.of("equal16_best_rival", found[best], paper=f"{best}: 1", floor=BEST_RIVAL_FLOOR)]


def ratios(rival: str, ours: Iterable[Timing], timings: Sequence[Timing]) -> list[float]:
    """The rival's seconds a finished rollout over ours, one for every pair."""
    theirs = {_pair(timing): timing for timing in timings if timing.contender == rival}
    return [
        theirs[_pair(own)].seconds_a_rollout / own.seconds_a_rollout for own in ours if _pair(own) in theirs
    ]


def _row(runs: Sequence[Timing], timings: Sequence[Timing], cost: Cost, limits: Limits) -> Row:
    first = runs[0]
    row: dict[str, str | int | float | bool | None] = {
        "case": first.plan or first.case,
        "contender": first.contender,
        "dtype": first.dtype,
        "arithmetic": first.arithmetic,
        "runs": len(runs),
        "seconds": statistics.median(run.seconds for run in runs),
        "mean_length": statistics.fmean(length for run in runs for length in run.played.finished),
        "rollouts_per_s": statistics.median(1 / run.seconds_a_rollout for run in runs),
        "tokens_per_s": statistics.median(run.played.tokens / run.seconds for run in runs),
        "matmul_share": _median_share(cost.matmul_share, runs, limits),
        "bandwidth_share": _median_share(cost.bandwidth_share, runs, limits),
    }
    for rival in RIVALS:
        figures = ratios(rival, runs, timings) if first.contender == ENGINE else []
        row[f"over_{rival}"] = statistics.median(figures) if figures else None
    return row


def _median_share(
    share: Callable[[Timing, Limits], float], runs: Sequence[Timing], limits: Limits
) -> float | None:
    """None in an arithmetic whose limit was not measured."""
    if runs[0].arithmetic not in limits.matmul_gflop_s:
        return None
    return statistics.median(share(run, limits) for run in runs)


def _who(timing: Timing) -> tuple[str, str, str, str | None]:
    return timing.dtype, timing.case, timing.contender, timing.plan


def _pair(timing: Timing) -> tuple[str, str, int]:
    return timing.dtype, timing.case, timing.seed
