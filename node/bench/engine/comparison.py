"""The engine and its rivals on one model and one case, timed one run after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from node.bench.engine.ctranslate2_generation import CTranslate2Generation, CTranslate2Int8, is_installed
from node.bench.engine.hf_generation import ContinuousBatching, DynamicInt8, PlainGeneration
from node.bench.engine.products import LibraryProducts
from node.bench.engine.report import CHECKED_DTYPE, ENGINE, FINE, PRODUCTS, RIVALS, Timing
from node.bench.engine.trl_generation import TrlGeneration
from node.bench.kit.machine import clock_of
from node.bench.kit.report import Progress
from node.bench.kit.workloads import AprilRounds, EnginePlan, Workload, count_tokens, draw_requests, play
from policies.policy import Stop
from policies.text.engine import Continuation, Engine, Request, Sampling

PAIRS = 3
OTHERS = ("generate", "batching", "int8")
OF_AN_EXTRA = (CTranslate2Generation.name, CTranslate2Int8.name)
WARM_UP_SEED = 1_000_000  # of requests that no measured run plays
WARM_UP = (Request((0, 1, 2, 3), key=0, max_new_tokens=3), Request((0, 1, 2, 3), key=1, max_new_tokens=3))

Runner: TypeAlias = Callable[[int], Timing]  # measures one run under a seed


class Rival(Protocol):
    """Samples completions; knows nothing of time."""

    name: str
    arithmetic: str

    def complete(self, requests: Sequence[Request]) -> list[int]:
        """The lengths of the completions, in order, each at least as long as its request's cap."""
        ...


def rival_runs(case: Workload, dtype: str, device: torch.device, asked: int | None) -> dict[str, int]:
    """How often each rival runs a case; the engine's plans run beside every one of them.

    On a CPU without bf16 units one run takes 20 to 200 s, so there only TRL's path in bfloat16, which the checks
    are about, and the products alone are repeated; the others show in one case that they are no faster.
    """
    checked = dtype == CHECKED_DTYPE
    if device.type != "cpu":
        return dict.fromkeys((*FINE, PRODUCTS), asked or PAIRS)
    runs = dict.fromkeys(("trl", PRODUCTS), asked or (PAIRS if checked else 1))
    if checked and case.name != "equal16":
        return runs
    return runs | dict.fromkeys((*OTHERS, *(OF_AN_EXTRA if is_installed() else ())), 1)


class Comparison:
    """One model in one type of weights, and everyone who samples from it."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        model.generation_config = GenerationConfig()  # the shipped one may hold penalties, and an end token
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._dtype = str(model.dtype).removeprefix("torch.")
        self._rivals: dict[str, Rival] = {}
        self._clock = clock_of(model.device)

    def compete(self, case: Workload, runs: Mapping[str, int], progress: Progress) -> Iterator[Timing]:
        """Timings as they come, `runs[name]` of each rival and one of every plan beside each of them.

        Who runs first alternates, so that a machine's drift favours nobody.
        """
        rivals = {name: self._rival_runner(case, name) for name in RIVALS if name in runs}
        plans = {plan.name: self._plan_runner(case, plan) for plan in self._plans(case)}
        pairs = max(runs.values())
        for seed in range(pairs):
            turns = {name: runner for name, runner in rivals.items() if seed < runs[name]} | plans
            for name in reversed(turns) if seed % 2 else turns:
                who = name if name in rivals else f"engine, {name}"
                progress(f"{self._dtype} {case.name}, run {seed + 1} of {pairs}: {who}")
                yield turns[name](seed)

    def _plans(self, case: Workload) -> list[EnginePlan]:
        """A forced arithmetic is only of interest where the engine's own choice may be another."""
        return [plan for plan in case.plans if plan.arithmetic in ("auto", self._dtype)]

    def _plan_runner(self, case: Workload, plan: EnginePlan) -> Runner:
        # `auto` may round float32 weights, and a comparison is in equal arithmetic.
        arithmetic = "float32" if self._dtype == "float32" else plan.arithmetic
        engine = Engine(self._model, (), slots=plan.slots, arithmetic=arithmetic)
        rounds = AprilRounds(case, plan, 0, self._vocabulary) if plan.in_flight else None

        def sample(requests: Sequence[Request], stop: Stop) -> list[Continuation]:
            return engine.run(requests, Sampling(), stop)

        def measure(seed: int) -> Timing:
            requests = draw_requests(case, seed, self._vocabulary)
            start = self._clock()
            played = rounds.play(sample) if rounds else play(requests, sample)
            seconds = self._clock() - start
            arithmetic = str(engine.figures["arithmetic"])
            return Timing(case.name, ENGINE, plan.name, self._dtype, arithmetic, seed, seconds, played)

        play(self._warm_up(case), sample)
        return measure

    def _rival_runner(self, case: Workload, name: str) -> Runner:
        rival = self._rival(name)

        def measure(seed: int) -> Timing:
            requests = draw_requests(case, seed, self._vocabulary)
            start = self._clock()
            lengths = rival.complete(requests)
            seconds = self._clock() - start
            if any(
                length < request.max_new_tokens for request, length in zip(requests, lengths, strict=True)
            ):
                raise RuntimeError(f"{name} returned completions shorter than asked: {lengths}")
            asked = play(requests, count_tokens(len(requests)))
            return Timing(case.name, name, None, self._dtype, rival.arithmetic, seed, seconds, asked)

        rival.complete(self._warm_up(case))
        return measure

    def _rival(self, name: str) -> Rival:
        if name not in self._rivals:
            self._rivals[name] = self._new_rival(name)
        return self._rivals[name]

    def _new_rival(self, name: str) -> Rival:
        never_sampled = self._vocabulary  # as the end of sequence: lengths are set by caps alone
        if name == TrlGeneration.name:
            return TrlGeneration(copy.deepcopy(self._model), self._tokenizer, never_sampled)
        if name == PlainGeneration.name:
            return PlainGeneration(self._model, never_sampled)
        if name == DynamicInt8.name:
            return DynamicInt8(self._model, never_sampled)
        if name in OF_AN_EXTRA:
            compiled = CTranslate2Int8 if name == CTranslate2Int8.name else CTranslate2Generation
            return compiled(self._model, self._tokenizer)
        if name == LibraryProducts.name:
            return LibraryProducts(self._model)
        return ContinuousBatching(self._model, never_sampled)

    def _warm_up(self, case: Workload) -> Sequence[Request]:
        """On an accelerator the case itself, for kernels and graphs are made for its shapes; else next to nothing."""
        if self._model.device.type == "cpu":
            return WARM_UP
        return draw_requests(case, WARM_UP_SEED, self._vocabulary)
