"""`--gguf` and `--push`: what is written and uploaded, and what is refused before weights are loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_stand_in import TOKEN, Hub, running_hub
from trained_run import EMBEDDED, config_of, text_policy, tiny_llama, trained_run
from transformers import LlamaConfig, LlamaForCausalLM

from node.export.command import Form, export_run
from node.export.errors import ExportError
from node.runtime import memory
from node.runtime.build import build_policy
from node.runtime.memory import require_memory
from policies.policy import PolicyError
from policies.text.policy import TextPolicy

sys.path.insert(0, str(Path(__file__).parents[2] / "text"))
from tiny_families import ROPE, chatml_kind

LORA = {"lora": {"rank": 4}}


def byte_level_llama(folder: Path) -> Path:
    """A random Llama whose tokenizer a GGUF file can hold."""
    tokenizer = chatml_kind()
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None, "pad_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.2, **ROPE, **ends)
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def murmur_export(hub: Hub, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    told = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "node", "export", *arguments, "--json"]
    return subprocess.run(
        command, env=os.environ | told, capture_output=True, text=True, timeout=150, check=False
    )


def test_a_run_becomes_a_gguf_file_that_starts_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = byte_level_llama(tmp_path / "base")
    run, policy = trained_run(tmp_path / "run", text_policy(base, **LORA))
    steps: list[str] = []
    facts = export_run(run.path, tmp_path / "sums", Form(merge=True, gguf=True), begins=steps.append)
    assert "writing the GGUF file and comparing it with the model" in steps
    assert len({path.stat().st_mode for path in (tmp_path / "sums").iterdir() if path.is_file()}) == 1
    assert "sums.gguf" in facts["files"] and facts["gguf_logprobs_off"] < 1e-4
    assert "`sums.gguf` holds the same weights" in (tmp_path / "sums" / "README.md").read_text()
    again = build_policy(config_of(text_policy(tmp_path / "sums" / "sums.gguf")), lambda *_: None)
    assert isinstance(again, TextPolicy)
    ids = torch.tensor([[3, 20, 33, 50]])
    with torch.no_grad():
        ours, theirs = (p._model.eval()(input_ids=ids).logits for p in (policy, again))
    assert (ours - theirs).abs().max() < 1e-4
    # Where there is no room for it, a small file is tried, and a large one refused before its weights are read.
    config, device = config_of(text_policy(tmp_path / "sums" / "sums.gguf")), torch.device("cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda _: 100_000)
    require_memory(config, device)
    monkeypatch.setattr(memory, "LEAST_PLANNED_FILE", 0)
    with pytest.raises(PolicyError, match=r"sums\.gguf does not fit: .* at most of 0\.00 GB free"):
        require_memory(config, device)


def test_what_no_gguf_file_can_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base"), **LORA))
    with pytest.raises(ExportError, match="add --merge"):
        export_run(run.path, tmp_path / "out", Form(gguf=True))
    with pytest.raises(PolicyError, match="cannot be written as a GGUF file"):
        export_run(run.path, tmp_path / "out", Form(merge=True, gguf=True))
    embedded, _ = trained_run(tmp_path / "embedded", EMBEDDED)
    with pytest.raises(PolicyError, match="cannot be written as a GGUF file"):
        export_run(embedded.path, tmp_path / "out", Form(gguf=True))
    assert not (tmp_path / "out").exists()


def test_a_folder_is_pushed_to_the_hub_as_it_lies_here(tmp_path: Path) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base")))
    out = tmp_path / "out"
    with running_hub() as hub:
        done = murmur_export(hub, str(run.path), str(out), "--push", "someone/sums")
        assert done.returncode == 0, done.stderr[-3000:]
        facts: dict[str, Any] = json.loads(done.stdout)
        assert facts["pushed"] == f"{hub.url}/someone/sums" and hub.private == {"someone/sums": True}
        there = hub.files["someone/sums"]
        assert {path.name: path.read_bytes() for path in out.iterdir()} == {
            name: content for name, content in there.items() if name != ".gitattributes"
        }
        assert b"model='someone/sums'" in there["README.md"] or b'model="someone/sums"' in there["README.md"]


def test_a_hub_that_refuses_is_told_and_the_folder_stays(tmp_path: Path) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base")))
    with running_hub() as hub:
        hub.full = True
        done = murmur_export(hub, str(run.path), str(tmp_path / "out"), "--push", "someone/sums")
        assert (
            done.returncode == 3
            and "was not pushed" in done.stderr
            and "hf upload someone/sums" in done.stderr
        )
        assert (tmp_path / "out" / "model.safetensors").is_file() and hub.files["someone/sums"] == {}


def test_a_push_that_cannot_be_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base"), **LORA))
    with pytest.raises(ExportError, match="OWNER/NAME"):
        export_run(run.path, tmp_path / "out", Form(merge=True, push="no such//name"))
    with pytest.raises(ExportError, match="path of this machine"):
        export_run(run.path, tmp_path / "out", Form(push="someone/sums"))
    monkeypatch.setattr("node.export.push.get_token", lambda: None)
    with pytest.raises(ExportError, match="hf auth login"):
        export_run(run.path, tmp_path / "out", Form(merge=True, push="someone/sums"))
    with running_hub() as hub:
        done = murmur_export(
            hub, str(run.path), str(tmp_path / "out"), "--merge", "--push", "someone/sums", token="hf_other"
        )
        assert done.returncode == 3 and "does not take the token" in done.stderr, done.stderr[-2000:]
        assert hub.files == {}
    assert not (tmp_path / "out").exists()
