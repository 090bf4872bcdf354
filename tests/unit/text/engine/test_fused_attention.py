"""Attention by fused kernels against the products apart: on a CPU by its own fused kernel, which has the same terms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_cuda_graphs import padded_steps
from tiny_models import SHARED, asked, made
from torch.nn.attention import SDPBackend, sdpa_kernel

from policies.text.engine import Engine, fused_attention, ways
from policies.text.engine.attention import PromptView, RolloutView, SlotGrid
from policies.text.engine.cache import Pair, Table, Terms

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
HEADS, SHARING, DIM, PLACES, WRITTEN = 2, 3, 16, 12, 5
LENGTHS = [9, 12, 3]
PROMPT_OF = [1, 0, 1, 2, 0, 1]  # of every row; unequal, so that cells stay empty
TERMS = [
    pytest.param({}, id="plain"),
    pytest.param({"window": 4}, id="window"),  # some rows see nothing of their prompt any more
    pytest.param({"sinks": True}, id="sinks"),
    pytest.param({"window": 7, "sinks": True}, id="window and sinks"),
]


def terms_of(given: dict[str, Any], device: str) -> Terms:
    sinks = torch.linspace(-1, 2, HEADS * SHARING, device=device) if given.get("sinks") else None
    return Terms(DIM**-0.5, given.get("window"), None, sinks)


def drawn(device: str, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("given", TERMS)
def test_a_step_attends_as_the_products_apart_do(given: dict[str, Any], device: str) -> None:
    terms, n = terms_of(given, device), len(PROMPT_OF)
    grid = SlotGrid.of(PROMPT_OF, LENGTHS, torch.device(device))
    for queries in (1, 3):  # a step, and a partial that is taken up again
        found = []
        for fused in (True, False):
            prompts, rollouts = Table(len(LENGTHS), PLACES), Table(n, WRITTEN + 3)
            for table, rows in ((prompts, len(LENGTHS)), (rollouts, n)):
                like = drawn(device, rows, HEADS, 1, DIM), drawn(device, rows, HEADS, 1, DIM)
                for stored in table.layer(0, like):
                    stored.copy_(drawn(device, *stored.shape))
            columns = torch.arange(WRITTEN - queries, WRITTEN, device=device).expand(n, -1)
            view = RolloutView(prompts, rollouts, grid, 0, columns, WRITTEN, PLACES, fused=fused)
            new = drawn(device, n, HEADS, queries, DIM), drawn(device, n, HEADS, queries, DIM)
            query = drawn(device, n, HEADS * SHARING, queries, DIM)
            found.append(view.attend(0, query, view.store(0, new), terms))
        assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("given", TERMS)
def test_prompts_attend_as_the_products_apart_do(given: dict[str, Any], device: str) -> None:
    terms = terms_of(given, device)
    states = drawn(device, 2, HEADS, 9, DIM), drawn(device, 2, HEADS, 9, DIM)
    query = drawn(device, 2, HEADS * SHARING, 9, DIM)
    found = [
        PromptView(Table(2, PLACES), 0, fused=fused).attend(0, query, states, terms)
        for fused in (True, False)
    ]
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_prompt_of_float32_falls_to_the_math_kernel(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA heads that share keys are taken by flash attention alone, which knows no float32."""
    asked_for: list[tuple[torch.Size, bool]] = []

    def kernel(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, **how: Any) -> torch.Tensor:
        asked_for.append((keys.shape, how["enable_gqa"]))
        return query

    monkeypatch.setattr(fused_attention, "scaled_dot_product_attention", kernel)
    states = torch.zeros(1, HEADS, 9, DIM, dtype=dtype), torch.zeros(1, HEADS, 9, DIM, dtype=dtype)
    fused_attention.attend_causally(torch.zeros(1, HEADS * SHARING, 9, DIM, dtype=dtype), states, Terms(1.0))
    ((shape, shared),) = asked_for
    assert shared is (dtype == torch.bfloat16)
    assert shape[1] == (HEADS if shared else HEADS * SHARING)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda_prompts_need_no_math_kernel(dtype: torch.dtype) -> None:
    states = drawn("cuda", 2, HEADS, 9, DIM).to(dtype), drawn("cuda", 2, HEADS, 9, DIM).to(dtype)
    query = drawn("cuda", 2, HEADS * SHARING, 9, DIM).to(dtype)
    with sdpa_kernel(
        [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    ):  # raises where it is asked
        assert fused_attention.attend_causally(query, states, Terms(0.25)).isfinite().all()


def test_the_gpus_own_kernel_takes_what_a_step_gives_it() -> None:
    """Its shapes, on tensors without numbers: logs are padded to 32 queries and cut off again."""
    meta = torch.device("meta")
    query = torch.empty(6, HEADS, SHARING, DIM, device=meta, dtype=torch.bfloat16)
    states: Pair = (torch.empty(6, HEADS, 40, DIM, device=meta, dtype=torch.bfloat16),) * 2
    bias = torch.empty(6, 1, SHARING, 40, device=meta, dtype=torch.bfloat16)
    out, logs = fused_attention.attention_and_logs(query, states, bias, 0.25)
    assert out.shape == query.shape and logs.shape == (6, HEADS, SHARING)
    assert logs.dtype == torch.float32


def test_rows_of_a_mask_are_aligned_as_the_kernel_reads_them() -> None:
    bias = fused_attention._bias(torch.ones(3, 1, 2, 37, dtype=torch.bool), torch.bfloat16)
    assert bias.shape == (3, 1, 2, 37) and all(step % 16 == 0 for step in bias.stride()[:-1])


@pytest.mark.parametrize("name", SHARED)
def test_engines_with_fused_attention_sample_what_others_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows, sinks and latents included; of capped scores the products stay apart."""
    requests = asked(copies=3, most=40)
    expected = Engine(made(name), (), slots=7).run(requests)
    monkeypatch.setattr(ways, "can_fuse", lambda _: True)
    padded_steps(lambda run: run, monkeypatch)
    engine = Engine(made(name), (), slots=7)
    found = engine.run(requests)
    assert engine.figures["attention"] == "fused"
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


def test_a_kernel_that_cannot_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(copies=2, most=20)
    expected = Engine(made("smollm2"), (), slots=7).run(requests)
    monkeypatch.setattr(ways, "can_fuse", lambda _: True)

    def unable(*_: object) -> Pair:
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(fused_attention, "attention_and_logs", unable)
    engine = Engine(made("smollm2"), (), slots=7)
    assert [one.token_ids for one in engine.run(requests)] == [one.token_ids for one in expected]
    assert (engine.path, engine.figures["attention"]) == ("engine", "apart")


def test_a_cpu_keeps_the_products_apart() -> None:
    assert not fused_attention.can_fuse(torch.device("cpu"))
    engine = Engine(made("smollm2"), (), slots=2)
    engine.run(asked(copies=1, most=2))
    assert engine.figures["attention"] == "apart"


@pytest.mark.gpu
@pytest.mark.parametrize("name", SHARED)
def test_on_cuda_engines_attend_by_fused_kernels(name: str) -> None:
    requests = asked(copies=3, most=20)
    expected = Engine(made(name), (), slots=7).run(requests)
    engine = Engine(made(name).cuda(), (), slots=7)
    found = engine.run(requests)
    assert engine.figures["attention"] == "fused"
    same = sum(a.token_ids == b.token_ids for a, b in zip(found, expected, strict=True))
    assert same >= len(requests) - 2  # float32 products on CUDA round otherwise


def test_capped_scores_are_not_for_the_kernel() -> None:
    assert not fused_attention.is_expressible(Terms(1.0, softcap=30.0))
    assert fused_attention.is_expressible(Terms(1.0, window=8, sinks=torch.zeros(2)))
