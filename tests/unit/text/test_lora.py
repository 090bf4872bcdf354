"""What `policy.model.lora` asks of peft."""

from __future__ import annotations

import pytest
from peft import LoraConfig

from policies.text.lora import lora_config
from policies.text.settings import LoraSettings


def test_every_key_reaches_peft() -> None:
    given = LoraSettings(
        rank=8,
        alpha=4.0,
        dropout=0.1,
        rslora=True,
        dora=True,
        target_modules=("q_proj",),
        modules_to_save=("lm_head",),
    )
    made = lora_config(given)
    assert (made.r, made.lora_alpha, made.lora_dropout) == (8, 4.0, 0.1)
    assert made.use_rslora and made.use_dora and made.modules_to_save == ["lm_head"]
    assert made.target_modules == {"q_proj"} and made.task_type == "CAUSAL_LM"
    assert set(LoraSettings.model_fields) == {
        *("rank", "alpha", "dropout", "target_modules", "rslora", "dora", "modules_to_save")
    }, "a new key needs its line in lora_config, and here"


@pytest.mark.parametrize("targets", ["all-linear", r".*layers\.[0-7]\..*_proj"])
def test_one_text_is_a_regex_over_whole_names(targets: str) -> None:
    assert lora_config(LoraSettings(target_modules=targets)).target_modules == targets


def test_what_is_left_out_is_pefts_own() -> None:
    made, plain = lora_config(LoraSettings()), LoraConfig(task_type="CAUSAL_LM")
    assert (made.use_rslora, made.use_dora, made.modules_to_save) == (
        plain.use_rslora,
        plain.use_dora,
        plain.modules_to_save,
    )
