"""What a GPU decides: arithmetic, the current device, and the micro-batches that it has room for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_trainer import trainer_of
from tiny_text import tiny_model

from policies.text import arithmetic
from policies.text import token_budget as budgets
from policies.text.arithmetic import has_bfloat16, prepare_device
from policies.text.memory.estimate import model_size
from policies.text.memory.shape import shape_of
from policies.text.model import attach_lora
from policies.text.settings import PLAIN_TOKENS, LoraSettings, ModelSettings, TextSettings
from policies.text.token_budget import ModelSize, by_card, card_bytes, tokens_for

GB = 1_000_000_000
FULL = ModelSize(
    resident=4 * 134_515_008,
    copied=134_515_008,
    trained_bytes=4 * 134_515_008,
    layers=30,
    hidden=576,
    widest=1536,
)
SEVEN = ModelSize(
    resident=2 * 7_600_000_000,
    copied=7_600_000_000,
    trained_bytes=4 * 40_000_000,
    layers=28,
    hidden=3584,
    widest=18_944,
)


def settings_of(**trainer: object) -> TextSettings:
    return TextSettings.model_validate({"trainer": trainer})


@contextmanager
def precision_kept() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "high"), (False, "highest")])
def test_a_named_gpu_becomes_the_current_one_and_rounds_float32_as_tf32(
    bfloat16: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda _: bfloat16)
    with precision_kept():
        prepare_device(torch.device("cuda:1"))
        assert torch.get_float32_matmul_precision() == precision
    assert current == [torch.device("cuda:1")]


def test_a_cpu_keeps_its_precision() -> None:
    with precision_kept():
        torch.set_float32_matmul_precision("highest")
        prepare_device(torch.device("cpu"))
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.gpu
def test_on_cuda_the_last_gpu_can_be_the_one() -> None:
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    before = torch.cuda.current_device()
    try:
        with precision_kept():
            prepare_device(device)
            assert torch.cuda.current_device() == device.index
            assert torch.zeros(1, device="cuda").device == device
            assert torch.backends.cuda.matmul.allow_tf32 is has_bfloat16(device)
    finally:
        torch.cuda.set_device(before)


def test_auto_is_bfloat16_where_a_gpu_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_bfloat16(torch.device("cpu"))
    for able in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        settled = TextSettings().settled(bfloat16=has_bfloat16(torch.device("cuda")))
        assert settled.trainer.bf16 is able
        assert settled.arithmetic == ("bfloat16" if able else "auto")
    assert settings_of(bf16=False).settled(bfloat16=True).trainer.bf16 is False


@pytest.mark.gpu
def test_on_cuda_auto_follows_the_card() -> None:
    device = torch.device("cuda")
    settled = TextSettings().settled(bfloat16=has_bfloat16(device))
    assert settled.trainer.bf16 is torch.cuda.is_bf16_supported(including_emulation=False)


@pytest.mark.parametrize(
    ("build", "card", "trainer", "tokens"),
    [
        (FULL, 6 * GB, {}, 1024),
        (FULL, 24 * GB, {}, 8192),
        (FULL, 80 * GB, {}, 16_384),
        (FULL, 80 * GB, {"gradient_checkpointing": True}, 65_536),
        (SEVEN, 24 * GB, {}, 1024),
        (SEVEN, 80 * GB, {}, 2048),
        (replace(SEVEN, resident=6 * GB, copied=0), 24 * GB, {"gradient_checkpointing": True}, 8192),
    ],
)
def test_a_micro_batch_is_what_the_card_has_room_for(
    build: ModelSize, card: int, trainer: dict[str, object], tokens: int
) -> None:
    assert tokens_for(build, settings_of(**trainer).settled(bfloat16=True), card) == tokens


def test_a_budget_that_is_set_stays_and_a_cpu_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    build = ModelSize.of_model(tiny_model())
    for device, budget, expected in (("cpu", "auto", PLAIN_TOKENS), ("cuda", 300, 300)):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * GB)
        )
        settings = settings_of(token_budget=budget).settled()
        assert by_card(settings, build, card_bytes(torch.device(device))).trainer.most_tokens == expected
    settled = by_card(settings_of().settled(), build, card_bytes(torch.device("cuda")))
    assert settled.trainer.token_budget == budgets.MOST
    assert trainer_of(tiny_model(), settled.trainer)._budget == budgets.MOST


def test_a_loaded_model_and_a_planned_one_get_the_same() -> None:
    for lora in (None, LoraSettings(rank=4)):
        model = tiny_model()
        settings = ModelSettings(path="tiny", lora=lora)
        shape = shape_of(model.config, settings)
        planned = model_size(shape, settings)
        if lora is not None:
            attach_lora(model, lora, 0)
        loaded = ModelSize.of_model(model)
        assert (loaded.resident, loaded.trained_bytes) == (planned.resident, planned.trained_bytes)
        assert lora is not None or loaded.copied == planned.copied
        assert (loaded.layers, loaded.hidden, loaded.widest) == (
            planned.layers,
            planned.hidden,
            planned.widest,
        )


@pytest.mark.gpu
def test_on_cuda_the_card_says_how_many_tokens() -> None:
    device = torch.device("cuda")
    card = card_bytes(device)
    assert card is not None and card >= torch.cuda.mem_get_info()[0]
    settled = by_card(TextSettings().settled(bfloat16=has_bfloat16(device)), FULL, card)
    assert isinstance(settled.trainer.token_budget, int)
    assert budgets.LEAST <= settled.trainer.token_budget <= budgets.MOST
