"""A merged adapter computes what the adapter beside its base does: the same numbers, rounded in another order."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from tiny_families import model_of

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
