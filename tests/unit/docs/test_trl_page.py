"""The page of TRL's settings: it names every field of the installed GRPOConfig once, and says what is true of it."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from trl import GRPOConfig

from policies.text.settings import TrainerSettings
from policies.text.trl_config import trl_config

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "docs" / "generate"))

from config_keys import config_sections  # noqa: E402

ROW = re.compile(r"^\| (`.*?) \| (\w+) \| (.*) \|$", re.M)
ROWS = ROW.findall((ROOT / "docs" / "trl.md").read_text(encoding="utf-8"))
NAME = re.compile(r"`([\w.]+)`")
FATES = {"mapped", "set", "left", "refused"}


def fates() -> dict[str, str]:
    return {name: fate for names, fate, _ in ROWS for name in NAME.findall(names)}


def test_every_field_of_the_installed_config_is_named_once() -> None:
    named = [name for names, _, _ in ROWS for name in NAME.findall(names)]
    assert sorted(named) == sorted(field.name for field in fields(GRPOConfig))
    assert set(fates().values()) == FATES


def test_every_key_that_a_field_is_mapped_to_is_in_the_reference() -> None:
    known = {key.path for section in config_sections() for key in section.keys}
    for names, fate, how in ROWS:
        told = NAME.findall(how)
        if fate == "mapped":
            assert known & set(told), names
        dotted = {name for name in told if "." in name}
        assert dotted <= known, names


# Of TRL's own default.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_what_is_left_or_refused_is_as_trl_has_it_and_what_differs_is_set() -> None:
    device = torch.device("cpu")
    changed = TrainerSettings(
        learning_rate=0.5,
        scheduler="cosine",
        warmup_steps=3,
        optimizer="adafactor",
        loss="cispo",
        epsilon_low=0.1,
        epsilon_high=5.0,
        adam_beta1=0.5,
        adam_beta2=0.6,
        weight_decay=0.7,
        gradient_checkpointing=True,
    )
    plain = GRPOConfig(output_dir="elsewhere", use_cpu=True)
    for settings in (TrainerSettings(), changed):
        ours = trl_config(settings, 0.7, device, "here")
        moved = {
            field.name
            for field in fields(GRPOConfig)
            if getattr(ours, field.name) != getattr(plain, field.name)
        }
        assert {name for name in moved if fates()[name] in ("left", "refused")} == set()
