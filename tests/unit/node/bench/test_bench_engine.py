"""The engine's benchmark: the work it hands out, APRIL's rounds, the report's arithmetic, and each rival for real."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from node.bench.engine import comparison, run, trl_generation
from node.bench.engine.comparison import OF_AN_EXTRA, Comparison, rival_runs
from node.bench.engine.ctranslate2_generation import is_installed
from node.bench.engine.memory_budget import MEMORY_CASE, measure_memory
from node.bench.engine.report import Cost, Timing, checks_of, ratios, rows_of
from node.bench.kit import workloads
from node.bench.kit.machine import Limits
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Interrupted
from node.bench.kit.workloads import (
    CASES,
    MAX_LENGTH,
    MEDIAN_LENGTH,
    AprilRounds,
    EnginePlan,
    Played,
    Workload,
    count_tokens,
    draw_length,
    draw_requests,
    play,
    stop_after,
)
from policies.policy import Stop
from policies.rollout import Finish
from policies.text.engine import Continuation, Request

VOCABULARY = 32
LONGTAIL = next(case for case in CASES if case.name == "longtail")
APRIL = next(plan for plan in LONGTAIL.plans if plan.in_flight)
SMALL = Workload(
    "equal16",
    rollouts=4,
    per_prompt=2,
    prompt_tokens=5,
    new_tokens=3,
    plans=(
        EnginePlan("equal16", slots=2, floor=2.0),
        EnginePlan("equal16_bf16", slots=2, arithmetic="bfloat16"),
    ),
)


def test_requests_are_a_function_of_case_and_seed() -> None:
    once, again, other = (draw_requests(LONGTAIL, seed, VOCABULARY) for seed in (1, 1, 2))
    assert once == again
    assert all(a.prompt_ids != b.prompt_ids and a.key != b.key for a, b in zip(once, other, strict=True))
    prompts = [request.prompt_ids for request in once]
    assert len(set(prompts)) == 4 and all(prompts.count(prompt) == 4 for prompt in prompts)
    assert len({request.key for request in once}) == 16
    assert all(len(prompt) == 57 and min(prompt) >= 0 and max(prompt) < VOCABULARY for prompt in prompts)


def test_lengths_follow_the_lognormal_law() -> None:
    lengths = [draw_length(0, number) for number in range(4000)]
    assert abs(statistics.median(lengths) - MEDIAN_LENGTH) <= 2  # standard error 0.65
    assert 49 < statistics.fmean(lengths) < 55  # cut at 256; standard error 0.8
    assert max(lengths) == MAX_LENGTH and min(lengths) >= 1


def test_work_is_counted_from_the_requests() -> None:
    requests = [
        Request((1, 2), key=0, max_new_tokens=3),
        Request((1, 2), key=1, max_new_tokens=4, begun_ids=(5, 6)),
    ]
    played = play(requests, count_tokens(slots=2))
    context = (2 + 3 + 4) + (4 + 5)  # every token attends to the prompt and to what is before it
    assert played == Played(finished=(3, 4), tokens=5, prompt_tokens=2, steps=3, context=context)


def test_stop_after_counts_over_calls() -> None:
    stop = stop_after(3)
    assert [stop(finished) for finished in ([], [4], [1], [0, 2])] == [False, False, False, True]


def test_settled_april_rounds_finish_lengths_as_the_law_gives_them() -> None:
    """Fresh rounds finish the short ones only; that would flatter the seconds a finished rollout."""
    finished = [length for seed in range(20) for length in april_lengths(seed, rounds=3)]
    assert 47 < statistics.fmean(finished) < 57  # the law's mean is 52


def april_lengths(seed: int, rounds: int) -> list[int]:
    april = AprilRounds(LONGTAIL, APRIL, seed, VOCABULARY)
    return [length for _ in range(rounds) for length in april.play(count_tokens(APRIL.slots)).finished]


def test_april_rounds_lose_and_shorten_nothing() -> None:
    april = AprilRounds(LONGTAIL, APRIL, 0, VOCABULARY)
    run = count_tokens(APRIL.slots)
    carried: list[Request] = []

    def watched(requests: Sequence[Request], stop: Stop) -> list[Continuation]:
        assert list(requests[: len(carried)]) == carried  # first, with every token they had
        assert len(requests) == 32
        return run(requests, stop)

    for _ in range(5):
        carried = list(april.carried)
        played = april.play(watched)
        assert len(played.finished) >= 16
        assert len(april.carried) == 32 - len(played.finished)
        assert april.begun == april.finished + len(april.carried)
    assert all(0 < len(request.begun_ids) < request.max_new_tokens for request in april.carried)


@pytest.mark.parametrize("finish", [Finish.LENGTH, Finish.STOP])
def test_a_shortened_rollout_is_noticed(finish: Finish) -> None:
    def shortening(requests: Sequence[Request], stop: Stop) -> list[Continuation]:
        whole = count_tokens(32)(requests, stop)
        return [dataclasses.replace(whole[0], token_ids=whole[0].token_ids[1:], finish=finish), *whole[1:]]

    with pytest.raises(RuntimeError, match="came back as"):
        AprilRounds(LONGTAIL, APRIL, 0, VOCABULARY).play(shortening)
    with pytest.raises(RuntimeError, match="came back as"):
        play(draw_requests(SMALL, 0, VOCABULARY), shortening)


def test_a_lost_rollout_is_noticed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        play(draw_requests(SMALL, 0, VOCABULARY), lambda requests, stop: count_tokens(4)(requests, stop)[1:])


def timing(contender: str, seed: int, seconds: float, finished: int = 4, plan: str | None = None) -> Timing:
    played = Played((8,) * finished, tokens=32, prompt_tokens=18, steps=10, context=100)
    arithmetic = "float32" if plan else "bfloat16"
    return Timing("equal16", contender, plan, "bfloat16", arithmetic, seed, seconds, played)


TIMINGS = [
    *(timing("trl", seed, seconds) for seed, seconds in enumerate((8.0, 9.0, 20.0))),
    timing("generate", 0, 6.0),
    *(timing("engine", seed, seconds, plan="equal16") for seed, seconds in enumerate((2.0, 3.0, 2.5))),
    timing("engine", 0, 1.0, finished=8, plan="equal16_bf16"),
]


def test_ratios_are_of_pairs_and_per_finished_rollout() -> None:
    ours = [each for each in TIMINGS if each.plan == "equal16"]
    assert ratios("trl", ours, TIMINGS) == [4.0, 3.0, 8.0]  # not the ratio of medians, 9 / 2.5
    assert ratios("generate", ours, TIMINGS) == [3.0]
    assert ratios("trl", TIMINGS[-1:], TIMINGS) == [16.0]  # twice as many finished


def test_checks_take_the_median_pair_with_bfloat16_weights() -> None:
    (check,) = checks_of(TIMINGS)
    assert (check.name, check.ours, check.low, check.high, check.floor) == ("equal16", 4.0, 3.0, 8.0, 2.0)
    assert checks_of([dataclasses.replace(each, dtype="float32") for each in TIMINGS]) == []


def test_the_best_rival_is_the_fastest_that_is_not_coarse_and_products_are_none() -> None:
    others = [timing("batching", 0, 9.0), timing("int8", 0, 1.0), timing("products", 0, 1.5)]
    found = {check.name: check for check in checks_of([*TIMINGS, *others])}
    best, share = found["equal16_best_rival"], found["matmul_share16"]
    assert (best.paper, best.ours, best.floor) == ("generate: 1", 3.0, 1.1)
    assert (share.ours, share.floor) == (0.75, 0.6)
    extra = [timing("ctranslate2", 0, 4.0), timing("ctranslate2_int8", 0, 0.5)]
    (best,) = (c for c in checks_of([*TIMINGS, *others, *extra]) if c.name == "equal16_best_rival")
    assert (best.paper, best.ours) == ("ctranslate2: 1", 2.0)


def test_an_engine_of_an_extra_plays_where_it_is_installed() -> None:
    if not is_installed():
        pytest.skip("needs the rivals extra: pip install 'murmuration[rivals]'")
    runs, words = dict.fromkeys(OF_AN_EXTRA, 1), tokenizer()
    words.bos_token = "<end>"  # its converter wants one
    for case in (SMALL, dataclasses.replace(SMALL, per_prompt=2)):
        timings = list(Comparison(llama(), words).compete(case, runs, lambda line: None))
        found = {each.contender: each for each in timings if each.plan is None}
        assert [(name, found[name].arithmetic) for name in runs] == [
            ("ctranslate2", "float32"),
            ("ctranslate2_int8", "int8"),
        ]
        assert all(each.played.finished == (3,) * 4 for each in found.values())


def test_rows_hold_medians_and_shares_of_the_limits() -> None:
    cost = Cost(weights=1_000_000, kv_values=1000)
    limits = Limits(read_gb_s=0.5, matmul_gflop_s={"float32": 0.1, "bfloat16": 0.05})
    rows = {(row["case"], row["contender"]): row for row in rows_of(TIMINGS, cost, limits)}
    assert list(rows) == [
        ("equal16", "trl"),
        ("equal16", "generate"),
        ("equal16", "engine"),
        ("equal16_bf16", "engine"),
    ]
    ours, theirs = rows["equal16", "engine"], rows["equal16", "trl"]
    assert (ours["runs"], ours["seconds"], ours["rollouts_per_s"]) == (3, 2.5, 1.6)
    assert (ours["over_trl"], ours["over_generate"], ours["over_batching"]) == (4.0, 3.0, None)
    assert theirs["over_trl"] is None and theirs["tokens_per_s"] == pytest.approx(32 / 9)
    assert ours["matmul_share"] == pytest.approx(2 * 50e6 / 2.5 / 0.1e9)
    assert theirs["matmul_share"] == pytest.approx(2 * 50e6 / 9 / 0.05e9)
    assert ours["bandwidth_share"] == pytest.approx((10e6 + 0.1e6) * 4 / 2.5 / 0.5e9)
    assert theirs["bandwidth_share"] == pytest.approx((10e6 + 0.1e6) * 2 / 9 / 0.5e9)


def llama(*, tied: bool = True) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<end>": 1} | {f"w{number}": number for number in range(2, VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<end>")


def test_cost_counts_what_a_token_is_multiplied_with() -> None:
    layer = 16 * 16 * 2 + 16 * 8 * 2 + 3 * 16 * 32 + 2 * 16  # q o, k v, gate up down, norms
    weights = 2 * layer + 16 + VOCABULARY * 16
    kept = 2 * 2 * 2 * 4  # key and value, layers, heads, width
    assert Cost.of(llama()) == Cost.of(llama(tied=False)) == Cost(weights, kept)


def test_everybody_plays_every_run_that_is_asked_for() -> None:
    said: list[str] = []
    model = llama().to(torch.bfloat16)
    runs = {"generate": 1, "batching": 1, "int8": 1, "trl": 2, "products": 2}
    timings = list(Comparison(model, tokenizer()).compete(SMALL, runs, said.append))
    who = [(each.plan or each.contender, each.seed) for each in timings]
    first = ["generate", "batching", "int8", "trl", "products", "equal16", "equal16_bf16"]
    again = ("equal16_bf16", "equal16", "products", "trl")
    assert who == [(name, 0) for name in first] + [(name, 1) for name in again]
    assert len(said) == len(timings) and said[0] == "bfloat16 equal16, run 1 of 2: generate"
    assert all(each.seconds > 0 and each.played.finished == (3,) * 4 for each in timings)
    assert {each.played for each in timings if each.seed == 0} == {
        Played((3,) * 4, tokens=12, prompt_tokens=10, steps=3, context=4 * (5 + 6 + 7))
    }
    named = ["equal16", "matmul_share16", "equal16_best_rival"]
    assert [check.name for check in checks_of(timings)] == named
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_april_is_played_by_the_engine_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "MEDIAN_LENGTH", 4)
    monkeypatch.setattr(workloads, "MAX_LENGTH", 12)
    comparison = Comparison(llama(), tokenizer())
    timings = {each.plan: each for each in comparison.compete(LONGTAIL, {"trl": 1}, lambda line: None)}
    assert set(timings) == {None, "longtail", "longtail_april", "longtail_april_3x"}
    assert len(timings["longtail"].played.finished) == 16 <= len(timings["longtail_april"].played.finished)
    assert timings[None].played.finished == timings["longtail"].played.finished


def test_ctrl_c_keeps_the_timings_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(
        comparison: Comparison, case: Workload, runs: object, progress: object
    ) -> Iterator[Timing]:
        yield TIMINGS[0]
        raise KeyboardInterrupt

    limits = Limits(read_gb_s=1.0, matmul_gflop_s={"float32": 1.0, "bfloat16": 1.0})
    monkeypatch.setattr(run, "measure_limits", lambda device: limits)
    monkeypatch.setattr(run.models, "load", lambda settings, device: (llama(), tokenizer()))
    monkeypatch.setattr(Comparison, "compete", interrupted)
    with pytest.raises(Interrupted) as ended:
        run.run(BenchOptions(cases=("equal16",)), lambda line: None)
    assert [(row["contender"], row["seconds"]) for row in ended.value.report.rows] == [("trl", 8.0)]


def test_rivals_run_often_only_where_a_check_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "is_installed", lambda: False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    equal, longtail = CASES[0], LONGTAIL
    others = {"generate": 1, "batching": 1, "int8": 1}
    assert rival_runs(equal, "bfloat16", cpu, None) == {"trl": 3, "products": 3} | others
    assert rival_runs(longtail, "bfloat16", cpu, 5) == {"trl": 5, "products": 5}
    assert rival_runs(longtail, "float32", cpu, None) == {"trl": 1, "products": 1} | others
    monkeypatch.setattr(comparison, "is_installed", lambda: True)
    found = rival_runs(equal, "bfloat16", cpu, None)
    assert found == {"trl": 3, "products": 3} | others | {"ctranslate2": 1, "ctranslate2_int8": 1}
    all_but_int8 = {"generate": 3, "batching": 3, "trl": 3, "products": 3}
    assert rival_runs(longtail, "bfloat16", cuda, None) == all_but_int8


def test_memory_is_reported_against_the_budget() -> None:
    case = dataclasses.replace(
        MEMORY_CASE, rollouts=8, per_prompt=8, new_tokens=4, plans=(EnginePlan("", slots=8),)
    )
    row = measure_memory(llama(), case, budget=64 * 2**20)
    assert row["rollouts"] == 8 and row["budget_mib"] == 64
    assert row["inside"] == (row["peak_mib"] <= 64)


def test_a_moved_trl_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    trl_generation.require_known_signature()
    monkeypatch.setattr(trl_generation.GRPOTrainer, "_generate_single_turn", lambda self, prompts: None)
    with pytest.raises(BenchError, match=r"install trl 1\.16"):
        trl_generation.require_known_signature()
