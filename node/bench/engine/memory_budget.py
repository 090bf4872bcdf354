"""The memory case of `murmur bench engine`: BroRL's group of 512 rollouts inside a budget that cannot hold them."""

from __future__ import annotations

import time

from transformers import PreTrainedModel

from node.bench.kit.peak_memory import PeakMemory
from node.bench.kit.report import Row
from node.bench.kit.workloads import EnginePlan, Workload, draw_requests, play
from policies.text.engine import Engine, Sampling

MEBI = 2**20
# Keys and values of all 512 at full length take 7 GB with SmolLM2-135M in float32.
BUDGET = 2048 * MEBI
MEMORY_CASE = Workload(
    "memory_512_rollouts",
    rollouts=512,
    per_prompt=512,
    prompt_tokens=57,
    new_tokens=256,
    plans=(EnginePlan("memory_512_rollouts", slots=512),),
)


def measure_memory(model: PreTrainedModel, case: Workload = MEMORY_CASE, budget: int = BUDGET) -> Row:
    """Peak memory beyond the weights, as the engine counts it and as the process shows it."""
    engine = Engine(model, (), slots=case.plans[0].slots, memory_budget=budget)
    requests = draw_requests(case, 0, model.config.get_text_config().vocab_size)
    start = time.perf_counter()
    with PeakMemory(model.device) as memory:
        played = play(requests, lambda asked, stop: engine.run(asked, Sampling(), stop))
    seconds = time.perf_counter() - start
    peak = int(engine.figures["peak_bytes"])
    return {
        "case": case.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "arithmetic": engine.figures["arithmetic"],
        "rollouts": len(played.finished),
        "slots": engine.figures["slots"],
        "seconds": seconds,
        "tokens_per_s": played.tokens / seconds,
        "budget_mib": budget / MEBI,
        "peak_mib": peak / MEBI,
        "process_peak_mib": memory.peak / MEBI,
        "inside": peak <= budget,
    }
