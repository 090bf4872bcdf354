"""What is found out while a node is put together, before its run begins."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from node.config.reading import load_config
from node.config.schema import parse_config
from node.runtime.build import build_node, build_policy, device_of, slow_start
from node.storage.run_folder import RunFolder
from policies.policy import PolicyError
from swarm.transport.silo import SiloTransport

sys.path.insert(0, str(Path(__file__).parents[2] / "text"))
from tiny_families import FAMILIES, model_of


def quiet(what: str, done: int, total: int) -> None:
    """Nobody looks at the progress."""


def folder_of(name: str, path: Path, **config: object) -> Path:
    model_of(name, **config).save_pretrained(path)
    FAMILIES[name].tokenizer().save_pretrained(path)
    return path


def test_a_device_that_is_not_there_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda", "mps"):
        config = parse_config({"tasks": [{"name": "add"}], "device": device})
        with pytest.raises(
            PolicyError, match=f"device = '{device}', .* sees none: set device = 'cpu' or 'auto'"
        ):
            build_policy(config, quiet)


def test_one_gpu_of_several_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    second, third = (
        parse_config({"tasks": [{"name": "add"}], "device": device}) for device in ("cuda:1", "cuda:2")
    )
    assert device_of(second) == torch.device("cuda", 1)
    with pytest.raises(PolicyError, match="device = 'cuda:2', and there are 2 GPUs: cuda:0 to cuda:1"):
        device_of(third)


def test_prompts_beyond_the_context_are_refused_before_the_run(tmp_path: Path) -> None:
    model = folder_of("gpt2", tmp_path / "model", n_positions=28)
    policy = {"type": "text", "model": {"path": str(model)}, "generation": {"max_new_tokens": 20}}
    config = parse_config({"tasks": [{"name": "maximum"}], "policy": policy, "evaluation": {"problems": 0}})
    folder = RunFolder(tmp_path / "run")
    config = folder.create(config)
    with pytest.raises(PolicyError, match=r"takes 28 tokens.*set generation\.max_new_tokens to at most"):
        build_node(config, folder, SiloTransport(), quiet)


def test_a_row_beyond_the_context_is_refused_before_the_run_wherever_it_stands(tmp_path: Path) -> None:
    rows = [{"question": f"{i} is", "answer": "1"} for i in range(60)] + [
        {"question": "so " * 60, "answer": "1"}
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = folder_of("gpt2", tmp_path / "model", n_positions=100)
    policy = {"type": "text", "model": {"path": str(model)}, "generation": {"max_new_tokens": 20}}
    task = {"name": "data:one-is-long", "path": str(tmp_path / "rows.jsonl")}
    config = parse_config({"tasks": [task], "policy": policy, "evaluation": {"problems": 0}})
    folder = RunFolder(tmp_path / "run")
    config = folder.create(config)
    with pytest.raises(PolicyError, match=r"takes 100 tokens"):
        build_node(config, folder, SiloTransport(), quiet)


def test_what_a_model_wants_known_is_in_its_policys_notes(tmp_path: Path) -> None:
    model = folder_of("gemma2", tmp_path / "model")
    policy = {
        "type": "text",
        "model": {"path": str(model)},
        "prompt": {"system": "Be brief."},
        "generation": {"max_new_tokens": 20},
    }
    built = build_policy(parse_config({"tasks": [{"name": "sort"}], "policy": policy, "seed": 1}), quiet)
    assert "'<end_of_turn>' by the chat template" in built.notes[0]
    assert "takes no system message" in built.notes[1]


def test_a_start_from_a_gguf_file_says_why_it_is_long() -> None:
    gguf = load_config("smollm2", ["policy.model.path=/models/Own.GGUF"])
    assert slow_start(gguf) == " (a GGUF file is converted at its first start, and kept)"
    assert (
        slow_start(load_config("smollm2", ["policy.model.path=owner/name"]))
        == slow_start(load_config("tiny"))
        == ""
    )
