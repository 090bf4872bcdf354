"""A run's memory, told before anything is loaded: by `run --dry-run`, by the doctor, and by a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig
from typer.testing import CliRunner

from node.cli import app
from node.config.schema import Config, parse_config
from node.runtime import memory
from node.runtime.memory import plan_memory, require_memory
from policies.policy import PolicyError


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """Of a model folder that holds a configuration and no weights: whatever reads more fails."""
    LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=512
    ).save_pretrained(tmp_path / "model")
    file = tmp_path / "mine.toml"
    file.write_text(
        f'tasks = [{{ name = "add" }}]\n[policy]\ntype = "text"\nmodel.path = "{tmp_path / "model"}"\n',
        encoding="utf-8",
    )
    return file


def of(file: Path) -> Config:
    path = str(file.parent / "model")
    return parse_config({"tasks": [{"name": "add"}], "policy": {"type": "text", "model": {"path": path}}})


def test_a_dry_run_prints_every_part_and_starts_nothing(config_file: Path) -> None:
    told = CliRunner().invoke(app, ["run", str(config_file), "--dry-run", "--set", "device=cpu"])
    assert told.exit_code == 0, told.output
    for part in (
        "weights",
        "working copy",
        "optimiser",
        "gradients",
        "activations",
        "keys and values",
        "it fits",
    ):
        assert part in told.stdout
    assert not (config_file.parent / "runs").exists()


def test_a_dry_run_for_scripts_is_one_object_in_bytes(config_file: Path) -> None:
    told = CliRunner().invoke(app, ["run", str(config_file), "--dry-run", "--json", "--set", "device=cpu"])
    found = json.loads(told.stdout)["memory"]
    assert found["fits"] and found["remedy"] is None
    assert found["peak"] == (
        found["weights"]
        + found["copy"]
        + found["optimiser"]
        + found["overhead"]
        + max(found["update"], found["sampling"])
    )


def test_the_doctor_plans_a_config(config_file: Path) -> None:
    from node.doctor import check_plan

    finding = check_plan(of(config_file))
    assert finding.state == "ok" and "GB at most" in finding.fact and "gradients" in finding.fact


def test_a_run_that_cannot_fit_is_refused_with_what_would(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, device = of(config_file), torch.device("cpu")
    require_memory(config, device)

    def refusal(free: int) -> str | None:
        monkeypatch.setattr(memory, "free_bytes", lambda _: free)
        try:
            require_memory(config, device)
        except PolicyError as error:
            return str(error)
        return None

    # What is needed whatever is halved: 7 to 11 MB, with the processor's arithmetic.
    refusals = [said for free in range(16_000_000, 4_000_000, -250_000) if (said := refusal(free))]
    assert "; set policy" in refusals[0] and "no setting makes it fit" in refusals[-1]


def test_other_policies_have_no_plan(tmp_path: Path) -> None:
    config = parse_config({"tasks": [{"name": "add"}]})
    assert plan_memory(config, torch.device("cpu")) is None
    told = CliRunner().invoke(app, ["run", "tiny", "--dry-run"])
    assert told.exit_code == 0 and "embedded" in told.stdout
