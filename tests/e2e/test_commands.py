"""The murmur command as its user types it: answers, exit codes and messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from murmur_command import QUICK, murmur

pytestmark = pytest.mark.e2e


def test_config_show_resolves_presets_and_overrides(tmp_path: Path) -> None:
    shown = murmur("config", "show", "tiny", "--set", "rounds=3", cwd=tmp_path)
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["rounds"] == 3
    schema = murmur("config", "schema", cwd=tmp_path)
    assert "sampler" in json.loads(schema.stdout)["properties"]


def test_wrong_key_exits_2_and_names_the_right_one(tmp_path: Path) -> None:
    failed = murmur("run", "tiny", "--set", "sampler.locl=3", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.strip() == "murmur: sampler.locl: unknown key; did you mean 'sampler.local'?"
    assert list(tmp_path.iterdir()) == []


def test_unknown_task_exits_2_with_the_nearest(tmp_path: Path) -> None:
    failed = murmur("silo", "tiny", "--set", 'tasks=[{name="sor"}]', cwd=tmp_path)
    assert failed.returncode == 2 and "sort" in failed.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_invite_exits_2(tmp_path: Path) -> None:
    failed = murmur("join", "murmur2:broken", cwd=tmp_path)
    assert failed.returncode == 2 and "invite" in failed.stderr


def test_missing_model_exits_3_with_a_way_out(tmp_path: Path) -> None:
    config = tmp_path / "missing.toml"
    config.write_text(
        'tasks = [{ name = "sort" }]\n[policy]\ntype = "text"\nmodel = { path = "./nowhere.gguf" }\n'
    )
    failed = murmur("run", str(config), cwd=tmp_path)
    assert failed.returncode == 3 and "nowhere.gguf" in failed.stderr


def test_identity_is_made_once(tmp_path: Path) -> None:
    first, second = (json.loads(murmur("identity", "--json", cwd=tmp_path).stdout) for _ in range(2))
    assert first == second and first["peer"].startswith("12D3Koo")
    assert (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.swarm
def test_doctor_finds_this_machine_fit(tmp_path: Path) -> None:
    told = murmur("doctor", "--json", cwd=tmp_path)
    findings = {finding["name"]: finding for finding in json.loads(told.stdout)}
    assert set(findings) == {
        "python",
        "clock",
        "device",
        "memory",
        "disk",
        "cache",
        "ports",
        "daemon",
        "network",
        "extras",
        "diffusion",
    }
    assert told.returncode == 0 and findings["daemon"]["state"] == "ok"


def test_run_again_needs_resume_and_resume_needs_a_run(tmp_path: Path) -> None:
    done = murmur("silo", "tiny", *QUICK, "--rounds", "2", "--run-dir", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = murmur("silo", "tiny", *QUICK, "--rounds", "2", "--run-dir", "here", cwd=tmp_path)
    assert again.returncode == 2 and "--resume" in again.stderr
    nothing = murmur("run", "--resume", "--run-dir", "elsewhere", cwd=tmp_path)
    assert nothing.returncode == 2 and "holds no run" in nothing.stderr
    longer = murmur("run", "--resume", "--run-dir", "here", "--rounds", "3", cwd=tmp_path)
    assert longer.returncode == 0 and "resumed after round 2" in longer.stdout
