"""`murmur prompt show`: what it prints is what the policy reads, of the embedded policy and of model folders."""

from __future__ import annotations

import json
from pathlib import Path

from trained_run import tiny_llama
from typer.testing import CliRunner

from node.cli import app
from node.config.reading import load_config
from node.runtime.build import build_policy
from policies.tasks import build_task
from policies.text.policy import TextPolicy

CONFIG = """
tasks = [{{ name = "maximum" }}, {{ name = "add" }}]
{policy}
prompt = {{ system = "Be brief.", answer_format = "boxed", examples = [{{ question = "1 + 1?", answer = "2" }}] }}
"""


def shown(*arguments: str) -> dict:
    result = CliRunner().invoke(app, ["prompt", "show", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_prints_what_the_policy_reads_without_its_weights(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    file = tmp_path / "own.toml"
    file.write_text(CONFIG.format(policy=f'[policy]\ntype = "text"\nmodel.path = "{folder}"'))
    config = load_config(file)
    policy = build_policy(config.seeded(0), lambda *_: None)
    assert isinstance(policy, TextPolicy)
    (folder / "model.safetensors").unlink()
    for task in ("maximum", "add"):
        problem = build_task(next(t for t in config.tasks if t.name == task).spec).problem(5)
        facts = shown(str(file), "--task", task, "--seed", "5")
        assert tuple(facts["token_ids"]) == policy._encoding.problem_prompt(problem)
        assert problem.words in facts["prompt"] and "Be brief." in facts["prompt"]
        assert "".join(facts["pieces"]) == facts["prompt"]


def test_the_embedded_policys_prompt_is_short_and_every_token_is_told() -> None:
    facts = shown("tiny")
    assert facts["prompt"].startswith("<|user|>") and facts["prompt"].endswith("<|end|><|assistant|>")
    result = CliRunner().invoke(app, ["prompt", "show", "tiny", "--tokens"])
    assert result.stdout.count("\n") == 1 + len(facts["token_ids"])
    assert f"{facts['token_ids'][0]}  '<|user|>'" in result.stdout


def test_what_does_not_fit_is_said() -> None:
    notes = shown("tiny", "--set", "policy.prompt.max_tokens=2")["notes"]
    assert any("ends the run before it begins" in note for note in notes)
    result = CliRunner().invoke(app, ["prompt", "show", "tiny", "--task", "none"])
    assert result.exit_code == 2 and "it has" in result.output
