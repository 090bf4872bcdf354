"""A configuration of absurd sizes is refused before anything is built of it, and by every door that reads one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hub_stand_in import running_hub
from tiny_text import tiny_model, tiny_tokenizer
from transformers import CONFIG_MAPPING

from policies.policy import PolicyError
from policies.text import model as model_loading
from policies.text.loading.sizes import check_sizes
from policies.text.memory.configuration import read_configuration
from policies.text.model import load
from policies.text.settings import ModelSettings
from policies.text.speech import load_speech

ABSURD: dict[str, Any] = {
    "num_hidden_layers": 10**9,
    "hidden_size": 10**12,
    "vocab_size": 10**12,
    "num_attention_heads": -(10**12),
    "text_config": {"n_layer": 10**6},
    "vision_config": {"depths": [2, 10**5]},
    "num_local_experts": 10**7,
}
SHORT = (
    "--set",
    "evaluation.problems=1",
    "--set",
    "sampler.local=2",
    "--set",
    "policy.generation.max_new_tokens=2",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_are_refused_in_words_before_anything_is_built(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: ABSURD[name]}))
    for builder in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"):
        monkeypatch.setattr(model_loading, builder, None)
    settings = ModelSettings(path=str(folder))
    words = rf"config.json asks for \w+ = {'-?' + str(_largest(ABSURD[name]))}, and at most \d+ is taken"
    for door in (
        lambda: load(settings, torch.device("cpu")),
        lambda: load_speech(settings),
        lambda: read_configuration(settings),
    ):
        with pytest.raises(PolicyError, match=words):
            door()


def _largest(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return max(map(_largest, value)) if isinstance(value, list) else abs(value)


@pytest.mark.parametrize(
    "kind", ["llama", "qwen3_moe", "gpt2", "gemma3", "mamba2", "doge", "deepseek_v3", "llama4"]
)
def test_what_libraries_make_by_default_passes(tmp_path: Path, kind: str) -> None:
    transformers.logging.set_verbosity_error()
    (tmp_path / "config.json").write_text(CONFIG_MAPPING[kind]().to_json_string(use_diff=False))
    check_sizes(str(tmp_path))


@pytest.mark.parametrize("layers", [2, 10**9])
def test_absurd_sizes_on_the_hub_are_refused_before_a_run_folder_exists(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, layers: int
) -> None:
    here, config = tmp_path_factory.mktemp("here"), json.loads((folder / "config.json").read_text())
    with running_hub() as hub:
        hub.files["someone/tiny"] = {file.name: file.read_bytes() for file in folder.iterdir()}
        hub.files["someone/tiny"]["config.json"] = json.dumps(config | {"num_hidden_layers": layers}).encode()
        told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(here / "cache"), "HF_HUB_OFFLINE": "0"}
        command = [
            sys.executable,
            "-m",
            "node",
            "silo",
            "smollm2",
            "--rounds",
            "1",
            "--run-dir",
            str(here / "run"),
        ]
        done = subprocess.run(
            [*command, "--set", 'policy.model.path="someone/tiny"', *SHORT],
            env=os.environ | told | {"HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if layers == 2:  # what is sound is taken from there
        assert done.returncode == 0 and "model.safetensors" in hub.given, done.stderr
        return
    assert done.returncode == 3 and not (here / "run").exists(), done.stderr
    assert f"someone/tiny: its config.json asks for num_hidden_layers = {layers}, and at most" in done.stderr
    assert set(hub.given) == {"config.json"}
