"""What the engine samples, against transformers' own generate and plain forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tiny_models import CONFIGS, SHARED, asked, made, prompts, teacher_forced

from policies.policy import PolicyError
from policies.rollout import Finish
from policies.text.engine import Continuation, Engine, Request, Sampling
from policies.text.engine import engine as engine_module
from policies.text.engine.batch import Batch
from policies.text.model import attach_lora
from policies.text.settings import LoraSettings

GREEDY = Sampling(temperature=0.0)


def tokens(continuations: Sequence[Continuation]) -> list[tuple[int, ...]]:
    return [continuation.token_ids for continuation in continuations]


@pytest.mark.parametrize("name", list(CONFIGS))
def test_greedy_output_is_that_of_generate(name: str) -> None:
    """More requests than slots, prompts of unequal lengths, sliding windows shorter than the prompts."""
    model = made(name)
    requests = asked()
    found = Engine(model, (), slots=5).run(requests, GREEDY)
    for request, continuation in zip(requests, found, strict=True):
        ids = torch.tensor([request.prompt_ids])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
        )[0, ids.shape[1] :]
        assert list(continuation.token_ids) == expected.tolist()
        assert continuation.finish is Finish.LENGTH


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_logprobs_are_those_of_a_teacher_forced_pass(name: str, temperature: float) -> None:
    model = made(name)
    requests = asked()
    for request, found in zip(
        requests, Engine(model, (), slots=5).run(requests, Sampling(temperature)), strict=True
    ):
        expected = teacher_forced(model, request, found.token_ids, temperature)
        assert found.logprobs == pytest.approx(expected.tolist(), abs=2e-4)
        assert len(found.token_ids) == request.max_new_tokens


@pytest.mark.parametrize("name", ["smollm2", "gemma2", "mamba"])
def test_neither_slots_nor_company_nor_order_change_what_is_sampled(name: str) -> None:
    model = made(name)
    requests = asked()
    expected = tokens(Engine(model, (), slots=64).run(requests))
    assert len(set(expected)) == len(requests)
    assert tokens(Engine(model, (), slots=1).run(requests)) == expected
    assert tokens(Engine(model, (), slots=3).run(requests[::-1])) == expected[::-1]
    assert tokens(Engine(model, (), slots=4).run(requests[5:6])) == expected[5:6]


def test_other_keys_sample_otherwise() -> None:
    engine = Engine(made("llama"), (), slots=8)
    requests = asked()
    others = [replace(request, key=request.key + 1) for request in requests]
    assert not set(tokens(engine.run(requests))) & set(tokens(engine.run(others)))


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_end_tokens_stop_a_rollout_and_are_kept(name: str) -> None:
    model = made(name)
    requests = [Request(prompts(7)[0], key, max_new_tokens=20) for key in range(40)]
    free = Engine(model, (), slots=16).run(requests)
    ends = {free[0].token_ids[0], free[1].token_ids[5], free[2].token_ids[9]}
    stopped = Engine(model, ends, slots=16).run(requests)
    assert {continuation.finish for continuation in stopped} == {Finish.STOP, Finish.LENGTH}
    assert len(stopped[0].token_ids) == 1, "the first token, drawn from the prompt's own logits, may end it"
    for all_of_it, found in zip(free, stopped, strict=True):
        end = next((i for i, token in enumerate(all_of_it.token_ids) if token in ends), None)
        expected = all_of_it.token_ids if end is None else all_of_it.token_ids[: end + 1]
        assert found.token_ids == expected
        assert found.finish is (Finish.LENGTH if end is None else Finish.STOP)


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_stop_is_told_who_finished_and_returns_the_rest_as_partials(name: str) -> None:
    told: list[int] = []

    def enough(finished: Sequence[int]) -> bool:
        told.extend(finished)
        return len(told) >= 4

    requests = asked()
    engine = Engine(made(name), (), slots=5)
    found = engine.run(requests, stop=enough)
    finished = [i for i, c in enumerate(found) if c.finish is not Finish.UNFINISHED]
    assert sorted(told) == finished
    assert len(finished) >= 4
    partial = [c for c in found if c.finish is Finish.UNFINISHED]
    assert any(c.token_ids for c in partial)
    assert any(not c.token_ids for c in partial), "some had not had their turn"
    assert all(len(c.token_ids) == len(c.logprobs) for c in found)


def test_a_partial_goes_on_under_new_weights_and_keeps_its_tokens() -> None:
    old, model = made("smollm2", seed=0), made("smollm2", seed=0)
    engine = Engine(model, (), slots=6)
    requests = asked()
    calls = 0

    def after_seven(finished: Sequence[int]) -> bool:
        nonlocal calls
        calls += 1
        return calls == 7

    begun = engine.run(requests, stop=after_seven)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * weight.std(), alpha=1.0)
    engine.refresh()
    rest = [replace(r, begun_ids=c.token_ids) for r, c in zip(requests, begun, strict=True)]
    for request, first, second in zip(requests, begun, engine.run(rest), strict=True):
        whole = first.token_ids + second.token_ids
        assert len(whole) == request.max_new_tokens
        split = len(first.token_ids)
        by_old = teacher_forced(old, request, whole)[:split]
        by_new = teacher_forced(model, request, whole)[split:]
        assert first.logprobs == pytest.approx(by_old.tolist(), abs=1e-4)
        assert second.logprobs == pytest.approx(by_new.tolist(), abs=1e-4)


@pytest.mark.parametrize("name", ["smollm2", "qwen2"])
def test_without_refresh_the_working_copy_stays_as_it_was(name: str) -> None:
    model = made(name)
    engine = Engine(model, (), slots=4)
    before = tokens(engine.run(asked()))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.3)
    assert tokens(engine.run(asked())) == before
    engine.refresh()
    assert tokens(engine.run(asked())) != before


@pytest.mark.parametrize("room", [True, False])
def test_an_adapter_is_sampled_with_the_model_below(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged into the working copy, or as it is where there is no room for a copy."""
    monkeypatch.setattr(engine_module.weights, "COPY_SHARE", 0.5 if room else 0.0)
    base = made("llama")
    adapted = attach_lora(base, LoraSettings(rank=4), seed=0)
    engine = Engine(base, (), slots=4)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.1)
    engine.refresh()
    base.train()
    attention = base.config._attn_implementation
    for request, found in zip(asked(), engine.run(asked()), strict=True):
        base.eval()
        expected = teacher_forced(base, request, found.token_ids)
        assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert base.config._attn_implementation == attention


def test_the_trained_model_is_left_in_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module.weights, "COPY_SHARE", 0.0)
    for name in ("llama", "mamba"):
        model = made(name).train()
        Engine(model, (), slots=4).run(asked())
        assert model.training


def test_bf16_weights_are_widened_where_bf16_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("smollm2", dtype=torch.bfloat16)
    exact = made("smollm2", dtype=torch.bfloat16).float()
    monkeypatch.setattr(engine_module.weights, "_cpu_multiplies_bfloat16", lambda: False)
    widened = Engine(model, (), slots=4)
    found = widened.run(asked())
    assert widened.figures["arithmetic"] == "float32"
    for request, continuation in zip(asked(), found, strict=True):
        expected = teacher_forced(exact, request, continuation.token_ids)
        assert continuation.logprobs == pytest.approx(expected.tolist(), abs=1e-4)

    rounded = Engine(model, (), slots=4, arithmetic="bfloat16")
    errors = torch.cat(
        [
            torch.tensor(c.logprobs) - teacher_forced(exact, request, c.token_ids)
            for request, c in zip(asked(), rounded.run(asked()), strict=True)
        ]
    )
    assert rounded.figures["arithmetic"] == "bfloat16"
    assert 1e-3 < float(errors.abs().mean()) < 0.2


def test_a_model_whose_layers_cannot_share_falls_back_with_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Engine(made("mamba"), (), slots=4)
    assert "sampled by transformers' generate, which is slower: it has layers of kind linear" in caplog.text
    caplog.clear()
    for name in SHARED:
        Engine(made(name), (), slots=4)
    assert not caplog.text


def test_a_model_that_the_engine_computes_wrongly_falls_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: the probe compares numbers. Here attention forgets its scale."""
    attend = engine_module.Decoder._rollout_view

    def wrong(self: object, grid: object, first: int, columns: torch.Tensor, width: int) -> object:
        view = attend(self, grid, first, columns, width)  # type: ignore[arg-type]
        view.grid = replace(view.grid, prompt_lengths=view.grid.prompt_lengths - 1)
        return view

    monkeypatch.setattr(engine_module.Decoder, "_rollout_view", wrong)
    model = made("llama")
    engine = Engine(model, (), slots=5)
    assert "log-probs differ from the model's own" in caplog.text
    requests = asked()
    for request, found in zip(requests, engine.run(requests), strict=True):
        expected = teacher_forced(model, request, found.token_ids)
        assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("message", ["cuda", "cpu"])
def test_running_out_of_memory_halves_the_wave(
    message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    requests = asked(copies=4)
    engine = Engine(made("llama"), (), slots=16)
    expected = tokens(engine.run(requests))
    step = Batch.step
    error = (
        torch.OutOfMemoryError("CUDA out of memory")
        if message == "cuda"
        else RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    )
    steps = 0

    def cramped(batch: Batch) -> None:
        nonlocal steps
        steps += 1
        if len(batch.running) > 5 and steps > 3:
            raise error
        step(batch)

    monkeypatch.setattr(Batch, "step", cramped)
    assert tokens(engine.run(requests)) == expected
    assert "out of memory with 16 rollouts at once: going on with 8" in caplog.text
    assert "going on with 4" in caplog.text


@pytest.mark.parametrize("name", ["qwen2", "mamba"])
def test_running_out_of_memory_in_a_pass_over_prompts_loses_no_request(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the engine's own pass, and inside `generate`, after some tokens were drawn."""
    requests = asked(lengths=(9, 14, 11, 20), copies=4)
    engine = Engine(made(name), (), slots=16)
    expected = tokens(engine.run(requests))
    owner, method = (engine_module.Decoder, "load_prompts") if name == "qwen2" else (Batch, "draw")
    plain, calls = getattr(owner, method), 0

    def cramped(self: object, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls in (3, 6):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, *arguments)

    monkeypatch.setattr(owner, method, cramped)
    assert tokens(engine.run(requests)) == expected
    assert calls > 6


def test_memory_that_holds_not_one_row_is_an_error_of_the_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_fits(batch: Batch) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Batch, "step", never_fits)
    with pytest.raises(PolicyError, match="not even one rollout fits"):
        Engine(made("llama"), (), slots=4).run(asked())


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(batch: Batch) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Batch, "step", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Engine(made("llama"), (), slots=4).run(asked())


def test_a_budget_sets_the_wave_and_is_refused_with_figures() -> None:
    requests = [Request(prompts(9)[0], key, max_new_tokens=24) for key in range(64)]
    model = made("llama")
    expected = tokens(Engine(model, (), slots=64).run(requests))
    planned = {}
    for slots in (1, 64):
        engine = Engine(model, (), slots=slots)
        engine.run(requests)
        planned[slots] = int(engine.figures["planned_bytes"])
    budget = (planned[1] + planned[64]) // 2
    half = Engine(model, (), slots=64, memory_budget=budget)
    assert tokens(half.run(requests)) == expected
    assert 30 <= int(half.figures["slots"]) <= 34
    assert int(half.figures["planned_bytes"]) <= budget
    with pytest.raises(PolicyError, match=r"one rollout of 24 new tokens after a prompt of 9 takes .* MB"):
        Engine(model, (), slots=64, memory_budget=1000).run(requests)


def test_more_distinct_prompts_than_slots() -> None:
    requests = [Request(prompt, key, 6) for key, prompt in enumerate(prompts(*range(5, 25)))]
    model = made("qwen3")
    assert tokens(Engine(model, (), slots=3).run(requests)) == tokens(
        Engine(model, (), slots=64).run(requests)
    )


def test_each_prompt_is_computed_once() -> None:
    engine = Engine(made("llama"), (), slots=4)
    engine.run(asked(lengths=(9, 14), copies=8))
    assert engine.figures["prompt_tokens"] == 9 + 14


def test_the_models_own_sampling_defaults_are_set_aside_and_put_back() -> None:
    """Qwen2.5 ships top-k 20 and a repetition penalty: neither may touch what is drawn."""
    for name in ("llama", "mamba"):
        plain, opinionated = made(name), made(name)
        opinionated.generation_config.update(top_k=1, repetition_penalty=5.0, do_sample=True)
        shipped = opinionated.generation_config
        assert tokens(Engine(opinionated, (), slots=8).run(asked())) == tokens(
            Engine(plain, (), slots=8).run(asked())
        )
        assert opinionated.generation_config is shipped


def test_requests_that_have_ended_or_have_no_prompt_are_refused() -> None:
    engine = Engine(made("llama"), (), slots=4)
    with pytest.raises(ValueError, match="has 3 of at most 3 tokens: it has ended"):
        engine.run([Request((1, 2), 0, 3, begun_ids=(4, 5, 6))])
    with pytest.raises(ValueError, match="a prompt of at least one token"):
        engine.run([Request((), 0, 3)])
    assert engine.run([]) == []


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state()
    engine = Engine(made("llama"), (), slots=4)
    engine.run(asked())
    assert torch.equal(torch.get_rng_state(), before)
