"""The lean decode step and packed layers: the numbers of the general pass, and the general pass where they are not."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from tiny_models import asked, made, teacher_forced
from torch.nn.functional import linear

from policies.text.engine import Engine, Sampling, lean_step, packed, weights
from policies.text.engine.packed import PackedLinear, can_pack, product_plus, product_times
from policies.text.engine.sampling import CACHED_NUMBERS, choose
from policies.text.engine.weights import chosen_arithmetic

FORMED = ["llama", "smollm2", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"]
CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(params=["onednn", "mkl"])
def packs_all(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs layers of any size, as those of real models are, by either library whatever is faster here."""
    if not all(can_pack(CPU, dtype) for dtype in DTYPES):
        pytest.skip("this torch has no packed products on this processor")
    by_mkl = request.param == "mkl"
    if by_mkl and not packed.has_mkl_products():
        pytest.skip("this torch has no packed products of MKL")
    monkeypatch.setattr(packed, "LEAST_WEIGHTS", dict.fromkeys(DTYPES, 0))
    monkeypatch.setattr(packed, "LEAST_WEIGHTS_MKL", 0)
    monkeypatch.setattr(packed, "mkl_is_faster", lambda: by_mkl)


@pytest.mark.usefixtures("packs_all")
@pytest.mark.parametrize("name", FORMED)
def test_lean_steps_of_packed_layers_give_the_models_own_logprobs(name: str) -> None:
    """Rows enter and leave, so that neighbours are at unequal places behind prompts of unequal length."""
    model = made(name)
    engine = Engine(model, (), slots=5)
    assert engine._lean is not None
    assert any(isinstance(layer, PackedLinear) for layer in engine._model.modules())
    requests = asked()
    for request, found in zip(requests, engine.run(requests), strict=True):
        expected = teacher_forced(model, request, found.token_ids)
        assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.usefixtures("packs_all")
@pytest.mark.parametrize("name", FORMED)
def test_in_bfloat16_it_is_as_near_as_the_general_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def error() -> float:
        engine = Engine(model, (), slots=5, arithmetic="bfloat16")
        requests = asked()
        found = engine.run(requests)
        return sum(
            float((teacher_forced(model, request, one.token_ids) - torch.tensor(one.logprobs)).abs().mean())
            for request, one in zip(requests, found, strict=True)
        )

    model = made(name)
    lean = error()
    monkeypatch.setattr(lean_step, "FORMS", {})
    assert lean < 1.5 * error()


def test_it_samples_what_the_general_pass_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("qwen3")
    lean = Engine(model, (), slots=5)
    monkeypatch.setattr(lean_step, "FORMS", {})
    general = Engine(model, (), slots=5)
    assert lean._lean is not None and general._lean is None and general.path == "engine"
    found, expected = (engine.run(asked(), Sampling(0.7)) for engine in (lean, general))
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]


def test_a_lean_step_that_is_not_exact_is_found_before_the_first_rollout(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lean_step, "_rotated", lambda states, *_: states)
    with caplog.at_level(logging.INFO):
        engine = Engine(made("llama"), (), slots=5)
    assert engine._lean is None and engine.path == "engine" and "log-probs differ" in caplog.text


def test_another_form_takes_the_general_step() -> None:
    engine = Engine(made("gpt2"), (), slots=5)
    assert engine._lean is None and engine.path == "engine"


@pytest.mark.usefixtures("packs_all")
def test_code_that_reads_a_layers_weights_gets_a_copy_that_has_them(caplog: pytest.LogCaptureFixture) -> None:
    model = made("llama")
    attention = type(model.model.layers[0].self_attn)
    forward = attention.forward

    def reads_weights(self: Any, hidden_states: torch.Tensor, **options: Any) -> Any:
        return forward(self, hidden_states.to(self.q_proj.weight.dtype), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "forward", reads_weights)
        engine = Engine(model, (), slots=5)
        assert engine._model is not model and "as in the file" in caplog.text
        assert len(engine.run(asked())) == len(asked())


@pytest.mark.usefixtures("packs_all")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 16, 130])
def test_a_packed_product_is_the_plain_one(dtype: torch.dtype, bias: bool, rows: int) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(96, 72, bias=bias, dtype=dtype).requires_grad_(False)
    layer, given, other = (
        PackedLinear(plain),
        torch.randn(rows, 96).to(dtype),
        torch.randn(rows, 72).to(dtype),
    )
    close = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    before = other.clone()
    layer.pack(plain.weight)
    torch.testing.assert_close(layer(given), plain(given), **close)
    torch.testing.assert_close(product_plus(layer, given, other), plain(given) + other, **close)
    torch.testing.assert_close(product_times(layer, given, other), plain(given) * other, **close)
    assert torch.equal(other, before)
    weight = torch.randn(72, 96)
    layer.pack(weight)
    torch.testing.assert_close(layer(given), linear(given, weight.to(dtype), plain.bias), **close)


def test_tokens_drawn_a_few_rows_at_a_time_are_those_of_all_at_once() -> None:
    torch.manual_seed(0)
    vocabulary = CACHED_NUMBERS // 3
    logits, keys, positions = torch.randn(8, vocabulary), torch.arange(8), torch.arange(8)
    tokens, logprobs = choose(logits, keys, positions, Sampling(0.9))
    expected = torch.log_softmax(logits / 0.9, -1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected, rtol=1e-5, atol=1e-5)
    singly = [
        choose(logits[i : i + 1], keys[i : i + 1], positions[i : i + 1], Sampling(0.9))[0] for i in range(8)
    ]
    assert torch.equal(tokens, torch.cat(singly))


@pytest.mark.parametrize(
    ("units", "dtype", "parameters", "cpu", "chosen"),
    [
        (True, torch.float32, 135_000_000, True, torch.bfloat16),
        (True, torch.float32, 600_000, True, torch.float32),
        (True, torch.bfloat16, 600_000, True, torch.bfloat16),
        (False, torch.float32, 135_000_000, True, torch.float32),
        (False, torch.bfloat16, 135_000_000, True, torch.float32),
        (False, torch.bfloat16, 135_000_000, False, torch.bfloat16),
        (True, torch.float32, 135_000_000, False, torch.float32),
    ],
)
def test_auto_weighs_what_the_processor_can_do(
    monkeypatch: pytest.MonkeyPatch,
    units: bool,
    dtype: torch.dtype,
    parameters: int,
    cpu: bool,
    chosen: torch.dtype,
) -> None:
    monkeypatch.setattr(weights, "_cpu_multiplies_bfloat16", lambda: units)
    assert chosen_arithmetic(dtype, parameters, "auto", cpu=cpu) == chosen
    assert chosen_arithmetic(dtype, parameters, "float32", cpu=cpu) == torch.float32
