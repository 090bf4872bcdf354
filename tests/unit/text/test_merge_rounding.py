"""A merged adapter computes what the adapter beside its base does: the same numbers, rounded in another order."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from tiny_families import model_of

from policies.text.engine.weights import refresh, working_copy
from policies.text.model import attach_lora
from policies.text.settings import LoraSettings

ROUNDINGS = 64  # of the largest logit: the layers of a small model round a few times each


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3"])
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # peft calls names of before
def test_merging_rounds_and_changes_nothing_else(name: str) -> None:
    model = attach_lora(model_of(name), LoraSettings(rank=8), 0)
    assert isinstance(model, PeftModel)
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                weight.normal_(std=0.05)
    ids = torch.arange(3, 60)[None]
    for dtype in (torch.float32, torch.float64):
        apart = copy.deepcopy(model).to(dtype).eval()
        with torch.no_grad():
            beside = apart(input_ids=ids).logits
            with apart.disable_adapter():
                moved = (beside - apart(input_ids=ids).logits).abs().max()
            merged = apart.merge_and_unload(safe_merge=True)(input_ids=ids).logits
        rounding = ROUNDINGS * torch.finfo(dtype).eps * beside.abs().max()
        assert (merged - beside).abs().max() <= rounding < moved / 100


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3"])
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_what_bfloat16_rounds_away_of_an_adapter_is_less_than_it_rounds_anyway(
    name: str, device: str
) -> None:
    """The working copy's weights are rounded to the nearest. What that takes from a small update, of weights that were
    published in bfloat16, lies under the noise of bfloat16's own products, which a larger update outgrows."""
    base = model_of(name).bfloat16().float().to(device)
    model = attach_lora(base, LoraSettings(rank=8), 0).eval()
    plain = model.get_base_model()
    ids = torch.arange(3, 60, device=device)[None]
    rounded = working_copy(plain, torch.bfloat16)
    refresh(rounded, plain)
    exact = working_copy(plain, torch.float32)  # computes in float32 on the rounded weights
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        noise = _spread(rounded(input_ids=ids).logits, model(input_ids=ids).logits)
        for size in (1e-4, 1e-3, 1e-2):
            for key, weight in model.named_parameters():
                if "lora_B" in key:
                    weight.copy_(size * torch.randn(weight.shape, generator=generator))
            refresh(rounded, plain)
            for held, taken in zip(exact.parameters(), rounded.parameters(), strict=True):
                held.copy_(taken)
            lost = _spread(exact(input_ids=ids).logits, model(input_ids=ids).logits)
            assert 0 < lost < noise


def _spread(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Of log-probs, in nats."""
    logs = [torch.log_softmax(logits.float(), dim=-1) for logits in (found, expected)]
    return float((logs[0] - logs[1]).square().mean().sqrt())
