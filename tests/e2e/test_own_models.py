"""SmolLM2 and Gemma 3 270M the whole way: trained, judged against their start, taken away, and begun from again.

Each takes some minutes of one core. MURMUR_PROOF_DIR=DIR keeps the runs, and a further call goes on where they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fresh_python import fresh, usage_in
from murmur_command import murmur
from real_models import GEMMA_MISSING, SMOLLM2_MISSING, gemma, has_gemma, smollm2

from node.config.schema import parse_config
from node.evaluation.answers import reserved
from node.runtime.build import build_policy
from node.storage.checkpoint import Checkpoints
from node.storage.run_folder import RunFolder
from policies.policy import RolloutRequest
from policies.tasks import build_task

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(7200)]

PATIENCE = 3000.0  # seconds of one command, on a machine that has other work too
PROBLEMS, COMPARED = 50, 6
SUMS = """
seed = 1
threads = 1
sampler.local = 6
tasks = [{ name = "rg:chain_sum", params = { min_terms = 2, max_terms = 2, min_digits = 1, max_digits = 1 } }]
checkpoint = { every = 4 }
evaluation = { problems = 0 }

[policy]
type = "text"
model.lora = { rank = 16 }
generation.max_new_tokens = 12
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and what its run is told beside SUMS."""

    file: Callable[[], str | None]
    rounds: int
    rate: float  # of learning
    policy: str  # keys of `[policy]`, in TOML

    def config(self, model: str | Path, rounds: int) -> str:
        trainer = f"trainer = {{ learning_rate = {self.rate}, max_grad_norm = 0.5 }}"
        return f'rounds = {rounds}\n{SUMS}{trainer}\n{self.policy}\nmodel.path = "{model}"\n'


CASES = {
    "smollm2": Case(smollm2, 8, 3e-4, 'prompt.system = "Answer with a number only."'),
    "gemma": Case(gemma, 8, 1e-4, 'prompt.examples = [{ question = "What is 7 + 2?", answer = "9" }]'),
}
MODELS = [
    pytest.param("smollm2", marks=pytest.mark.skipif(smollm2() is None, reason=SMOLLM2_MISSING)),
    pytest.param("gemma", marks=pytest.mark.skipif(not has_gemma(), reason=GEMMA_MISSING)),
]


@dataclass(frozen=True, slots=True)
class Trained:
    """A folder with a finished run of a case, and exports of it, each made when it is asked for."""

    case: Case
    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def verdict(self) -> dict[str, Any]:
        """Of `murmur eval` on pass@1."""
        file = self.folder / "verdict.json"
        if not file.exists():
            options = ("--problems", str(PROBLEMS), "--rollouts", "4", "--k", "1", "--json")
            file.write_text(done("eval", "run", *options, cwd=self.folder))
        lines = json.loads(file.read_text())["lines"]
        return next(line for line in lines if line["metric"] == "pass@1")

    def adapter(self) -> Path:
        return self._exported(f"{self.folder.name}-sums-adapter")

    def whole(self) -> Path:
        return self._exported(f"{self.folder.name}-sums", "--merge", "--gguf")

    def _exported(self, name: str, *options: str) -> Path:
        if not (self.folder / name).exists():
            done("export", "run", name, *options, cwd=self.folder)
        return self.folder / name

    def answers(self) -> dict[str, str]:
        """Of the policy as the run left it."""
        checkpoint = Checkpoints(RunFolder(self.run).checkpoints, 1).find(None)
        return likeliest_answers(RunFolder(self.run), checkpoint)


def likeliest_answers(run: RunFolder, checkpoint: Path | None) -> dict[str, str]:
    """By problem, computed in float32 as other libraries do. Without a checkpoint those of the run's start."""
    config = run.read_config()
    tree = config.model_dump()
    tree["policy"]["generation"] |= {"arithmetic": "float32", "held_out": {"temperature": 0.0}}
    policy = build_policy(parse_config(tree), lambda *_: None)
    if checkpoint is not None:
        policy.load(checkpoint / "policy")
    asked = reserved(build_task(config.tasks[0].spec), COMPARED)
    found = policy.sample([RolloutRequest(problem, 0) for problem in asked], held_out=True)
    return {
        problem.words or problem.prompt: rollout.text for problem, rollout in zip(asked, found, strict=True)
    }


def done(*arguments: str, cwd: Path) -> str:
    """What a command that succeeds prints."""
    ended = murmur(*arguments, cwd=cwd, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    name = request.param
    kept, case = os.environ.get("MURMUR_PROOF_DIR"), CASES[name]
    folder = Path(kept).absolute() / name if kept else tmp_path_factory.mktemp("proof") / name
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sums.toml"
    config.write_text(case.config(str(case.file()), case.rounds))
    done("silo", "sums.toml", "--resume-or-start", "--run-dir", "run", cwd=folder)
    return Trained(case, folder)


def test_it_is_better_than_its_start_beyond_chance(trained: Trained) -> None:
    line = trained.verdict()
    assert line["problems"] == PROBLEMS and line["difference"]["low"] > 0, line


def test_plain_libraries_answer_as_the_nodes_policy(trained: Trained) -> None:
    """By the Python of the two cards, the adapter's and the whole model's, each problem asked in turn."""
    answers = trained.answers()
    assert len(set(answers.values())) > 1, "equal answers to different problems would compare nothing"
    for folder in (trained.adapter(), trained.whole()):
        assert answers == asked_by_card(folder, list(answers)), folder.name
    assert list(trained.whole().glob("*.gguf"))


def asked_by_card(folder: Path, prompts: list[str]) -> dict[str, str]:
    """What the card's Python prints, with the likeliest tokens in place of drawn ones, for other questions too."""
    usage = usage_in(folder).replace("max_new_tokens", "do_sample=False, max_new_tokens")
    lines = usage.replace("print(text)", "print(json.dumps([prompt, text]))").splitlines()
    asking = next(place for place, line in enumerate(lines) if line.startswith("messages = ")) + 1
    loop = ["for prompt in json.loads(sys.argv[1]):", "messages[-1]['content'] = prompt", *lines[asking:]]
    script = "\n".join(["import json, sys", *lines[:asking], "\n    ".join(loop)])
    printed = fresh(script, json.dumps(prompts), cwd=folder.parent, timeout=PATIENCE)
    told = dict(json.loads(line) for line in printed.splitlines())
    # The plain template ends an answer by an empty line, whose token a pipeline leaves in.
    return {prompt: text.rstrip("\n") for prompt, text in told.items()}


def test_an_exported_folder_is_the_start_of_the_next_run(trained: Trained) -> None:
    config = trained.folder / "further.toml"
    config.write_text(trained.case.config(trained.whole(), 1))
    done("silo", "further.toml", "--resume-or-start", "--run-dir", "further", cwd=trained.folder)
    assert likeliest_answers(RunFolder(trained.folder / "further"), None) == trained.answers()
