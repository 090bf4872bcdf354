"""An exported folder: what plain transformers and peft read of it, equal to the node's policy; and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from fresh_python import fresh, usage_in
from safetensors.torch import load_file
from trained_run import EMBEDDED, PEER, config_of, text_policy, tiny_llama, trained_run
from typer.testing import CliRunner

from node.cli import app
from node.config.schema import parse_config
from node.export.command import Form, draft_of, export_run
from node.export.errors import ExportError
from node.runtime.session import next_steps, run_session
from node.storage.checkpoint import CheckpointError
from node.storage.run_folder import RunFolder, RunFolderError
from node.ui.round_columns import columns_for
from node.ui.run_view import RunView
from policies.policy import PolicyError, RolloutRequest
from policies.tasks import TaskSpec, build_task
from policies.text.export.folder import reads_alike
from policies.text.policy import TextPolicy

LORA = {"lora": {"rank": 4}}
PROMPT = {"prompt": {"system": "Be brief.", "answer_format": "last_number"}}
IDS = [[3, 20, 33, 50, 1, 4], [3, 41, 42, 43, 1, 4]]

FRESH = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
folder, base, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
if base:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
with torch.no_grad():
    logits = model(input_ids=torch.tensor(ids)).logits
answer = pipeline("text-generation", model=model, tokenizer=tokenizer)
turns = answer([{"role": "user", "content": "1+2="}], max_new_tokens=6, do_sample=False)[0]["generated_text"]
said = turns[-1]["content"]
assert not {"policies", "node", "swarm"} & {name.partition(".")[0] for name in sys.modules}
ids = tokenizer.apply_chat_template([{"role": "user", "content": "MAX 8 7"}], add_generation_prompt=True)["input_ids"]
print("RESULT" + json.dumps({"logits": logits.tolist(), "said": said, "prompt": ids}))
"""


def logits_of(policy: TextPolicy) -> torch.Tensor:
    policy._model.eval()
    with torch.no_grad():
        return policy._model(input_ids=torch.tensor(IDS)).logits


@pytest.mark.parametrize("kind", ["full", "merged", "adapter", "embedded"])
def test_plain_libraries_read_the_policy_as_it_was(kind: str, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    adapter = kind in ("merged", "adapter")
    section = EMBEDDED if kind == "embedded" else text_policy(base, **(LORA if adapter else {}))
    run, policy = trained_run(tmp_path / "run", section)
    facts = export_run(run.path, tmp_path / "out", Form(merge=kind == "merged"))
    assert facts["kind"] == ("adapter" if kind == "adapter" else "model")
    assert (facts["base"] == str(base)) is (kind == "adapter")
    printed = fresh(
        FRESH, str(tmp_path / "out"), str(base) if kind == "adapter" else "", json.dumps(IDS), cwd=tmp_path
    )
    read = json.loads(printed.partition("RESULT")[2])
    theirs = torch.tensor(read["logits"])
    assert (theirs - logits_of(policy)).abs().max() < 1e-5
    assert facts["tokenizer_read_alike"]
    if kind == "embedded":
        assert tuple(read["prompt"]) == policy._encoding.prompt("MAX 8 7")
    if kind in ("full", "merged"):
        start = load_file(base / "model.safetensors")
        ours = load_file(tmp_path / "out" / "model.safetensors")
        assert max((ours[name] - start[name]).abs().max() for name in start) > 1e-4, "nothing was learned"
    assert (tmp_path / "out").stat().st_mode & 0o777 == (tmp_path / "run").stat().st_mode & 0o777


@pytest.mark.parametrize("merge", [False, True])
def test_the_card_tells_the_lineage_and_its_python_runs(merge: bool, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    run, _ = trained_run(tmp_path / "run", {**text_policy(base, **LORA), **PROMPT}, rounds=2)
    export_run(run.path, tmp_path / "sums", Form(merge=merge))
    card = (tmp_path / "sums" / "README.md").read_text()
    for words in (
        "| rounds | 2 |",
        "`add@3`",
        f"| `{PEER}` | 2 | 25.0% |",
        "| this node | 6 | 75.0% |",
        "Trained from **" if merge else "**, trained by reinforcement learning",
        "Be brief.",
        "End with the answer as a number",
    ):
        assert words in card
    assert "| 2 | 0.500 | 0.500 |" in card and "| transformers | 5." in card
    assert f"library_name: {'transformers' if merge else 'peft'}\n" in card and card.startswith("---\n")
    assert card.count(str(tmp_path)) == (0 if merge else 1), "only an adapter names a path: that of its base"
    assert fresh(usage_in(tmp_path / "sums"), cwd=tmp_path), "it answers, be it with an empty line"


def test_the_cards_python_ends_an_answer_where_the_policy_does(tmp_path: Path) -> None:
    """`generate` knows nothing of stop strings, which a model without an end of its own writes on behind."""
    problem, greedy = build_task(TaskSpec("add")).problem(0), {"held_out": {"temperature": 0.0}}
    section = text_policy(tiny_llama(tmp_path / "base")) | {"generation": {"max_new_tokens": 6} | greedy}
    _, policy = trained_run(tmp_path / "unstopped", section)
    whole = policy.sample([RolloutRequest(problem, 0)], held_out=True)[0].text
    assert len(whole) > 3
    run, policy = trained_run(tmp_path / "run", section | {"prompt": {"stop": [whole[1:3]]}})
    text = policy.sample([RolloutRequest(problem, 0)], held_out=True)[0].text
    export_run(run.path, tmp_path / "out")
    surely = usage_in(tmp_path / "out").replace("max_new_tokens", "do_sample=False, max_new_tokens")
    assert fresh(surely, cwd=tmp_path) == f"{text}\n"
    assert text == whole[:1]


def test_a_tokenizer_that_transformers_would_rebuild_is_told_of(tmp_path: Path) -> None:
    """Of a Qwen2 it takes every tokenizer for Qwen2's own: this one of characters would lose its blanks."""
    run, _ = trained_run(tmp_path / "run", EMBEDDED)
    weights = next(run.checkpoints.glob("round-*/policy/weights"))
    assert not reads_alike(weights, "8 7") and reads_alike(weights, "87")


def test_a_finished_run_says_how_its_weights_are_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(EMBEDDED, rounds=1, evaluation={"problems": 0})
    folder = RunFolder(Path("runs/one"))
    folder.create(config)
    run_session(config, folder, RunView("plain", "one", columns_for(config)), resumed=False)
    finished, weights, commands = capsys.readouterr().out.splitlines()[-3:]
    assert (finished, weights) == (
        "finished 1 round",
        "its weights: runs/one/checkpoints/round-00000001",
    )
    assert "stats runs/one" in commands and "peers" not in commands  # it was in no swarm
    command = commands.rpartition(": ")[2]
    words = shlex.split(command)
    assert CliRunner().invoke(app, words[words.index("export") :]).exit_code == 0
    assert (tmp_path / "my-model" / "config.json").is_file()
    assert "peers runs/one" in next_steps(folder, in_swarm=True)


def test_an_exported_folder_is_the_start_of_another_run(tmp_path: Path) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base")))
    export_run(run.path, tmp_path / "out")
    config = config_of(text_policy(tmp_path / "out"), rounds=1, evaluation={"problems": 0})
    folder = RunFolder(tmp_path / "next")
    folder.create(config)
    node = run_session(config, folder, RunView("json", "next", columns_for(config)), resumed=False)
    assert node.round == 1
    export_run(folder.path, tmp_path / "again")


def test_a_round_is_chosen_and_those_that_are_not_kept_are_named(tmp_path: Path) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base")), rounds=3)
    assert export_run(run.path, tmp_path / "two", round_number=2)["round"] == 2
    with pytest.raises(CheckpointError, match="no checkpoint of round 1, only of 2, 3"):
        export_run(run.path, tmp_path / "one", round_number=1)
    assert not (tmp_path / "one").exists()


def test_a_run_keeps_its_best_checkpoint_and_export_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = text_policy(tiny_llama(tmp_path / "base"))
    keys = {"evaluation": {"problems": 1, "every": 1}, "checkpoint": {"keep": 1, "keep_best": True}}
    config = config_of(section, rounds=2, **keys)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    run_session(config, folder, RunView("json", "run", columns_for(config)), resumed=False)
    assert "export" not in capsys.readouterr().out  # what is next is told to a person, not to a script
    # A random model answers nothing right, so that the first of two equals stays.
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["best-00000001", "round-00000002"]
    facts = export_run(folder.path, tmp_path / "out", best=True)
    assert facts["round"] == 1
    with pytest.raises(ExportError, match="leave one out"):
        export_run(folder.path, tmp_path / "other", round_number=1, best=True)
    plain, _ = trained_run(tmp_path / "plain", section)
    with pytest.raises(ExportError, match="keep_best=true"):
        export_run(plain.path, tmp_path / "other", best=True)


def test_what_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    run, _ = trained_run(tmp_path / "run", text_policy(tiny_llama(tmp_path / "base")))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_run(run.path, taken)
    (tmp_path / "empty").mkdir()
    export_run(run.path, tmp_path / "empty")
    with pytest.raises(ExportError, match="not empty"):
        export_run(run.path, tmp_path / "empty" / "config.json")


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"), draft_of(tmp_path / "out") as draft:
        (draft / "model.safetensors").write_text("half")
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_two_exports_into_one_folder_leave_each_other_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with draft_of(folder) as draft:
        (draft / "mine.txt").write_text("mine")
        with pytest.raises(ExportError, match="another murmur export is writing"), draft_of(folder):
            raise AssertionError("the second one begins nothing")
    assert (folder / "mine.txt").read_text() == "mine" and [*tmp_path.iterdir()] == [folder]
    late = tmp_path / "late"
    with pytest.raises(ExportError, match="late was made by another program meanwhile"), draft_of(late):
        late.mkdir()
        (late / "theirs.txt").write_text("theirs")
    assert [path.name for path in late.iterdir()] == ["theirs.txt"]


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("damage", ["cut", "gone", "tokenizer"])
def test_a_damaged_checkpoint_is_named(lora: bool, damage: str, tmp_path: Path) -> None:
    run, _ = trained_run(
        tmp_path / "run", text_policy(tiny_llama(tmp_path / "base"), **(LORA if lora else {}))
    )
    weights = next(run.checkpoints.glob("round-*/policy/weights"))
    file = weights / ("adapter_model.safetensors" if lora else "model.safetensors")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:200])
    elif damage == "gone":
        file.unlink()
    else:
        (weights / "tokenizer.json").unlink()
    with pytest.raises((PolicyError, ExportError), match="round-00000001"):
        export_run(run.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_that_hold_no_language_model_are_refused(tmp_path: Path) -> None:
    empty = RunFolder(tmp_path / "empty")
    empty.create(config_of(EMBEDDED))
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        export_run(empty.path, tmp_path / "out")
    images = RunFolder(tmp_path / "images")
    images.create(parse_config({"seed": 1, "tasks": [{"name": "digits"}], "policy": {"type": "diffusion"}}))
    with pytest.raises(ExportError, match="makes images"):
        export_run(images.path, tmp_path / "out")
    with pytest.raises(RunFolderError, match="holds no run"):
        export_run(tmp_path / "nowhere", tmp_path / "out")
