"""Own code as a task: pure and bounded in its process, named by its source, and started by nobody's invite."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.config.data_files import with_digests
from node.config.reading import load_config
from node.config.roles import as_swarm_node, manifest_of
from node.config.schema import Config, ConfigError
from policies.tasks import TaskError, TaskSpec, build_task
from policies.tasks.code_task import CodeTask
from policies.tasks.held_out import is_held_out
from policies.tasks.task import HELD_OUT_SEED
from swarm.wire.invite import Invite

VOWELS = """
import random
class Vowels:
    def problem(self, seed):
        letters = "".join(random.Random(seed).choices("abcdefghij", k=6))
        return f"How many vowels has {letters}?", str(sum(letter in "aei" for letter in letters))
    def score(self, problem, completion):
        if completion == "raise": raise KeyError("x")
        if completion == "hang":
            while True: pass
        if completion == "nan": return float("nan")
        print("noise")
        return float(completion[-1:] == problem[1])
"""
ADDRESS = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf"


def written(folder: Path, source: str = VOWELS) -> Path:
    (folder / "own.py").write_text(source)
    file = folder / "own.toml"
    file.write_text('tasks = [{ name = "code:vowels", code = "own.py:Vowels" }]\nswarm.type = "dht"\n')
    return file


def test_problems_and_scores_are_those_of_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [config] = load_config(written(tmp_path)).tasks
    task = build_task(config.spec)
    assert isinstance(task, CodeTask)
    monkeypatch.setattr(task.worker, "cpu_seconds", 0.2)
    problem = task.problem(7)
    assert problem == build_task(config.spec).problem(7) and problem.prompt.startswith("How many vowels")
    assert task.score(problem, f"It is {problem.answer}") == 1.0 and task.score(problem, "x") == 0.0
    assert [task.score(problem, text) for text in ("raise", "hang", "nan")] == [None] * 3
    assert task.score(problem, problem.answer) == 1.0, "it goes on after each of them"
    assert task.score(replace(problem, answer="4"), "4") == 1.0


SCORES = """
import random
import sys
from fractions import Fraction
import numpy
class Scores:
    def problem(self, seed):
        return f"{random.Random(seed).random()}?", "1"
    def score(self, problem, completion):
        return {"sum": 0.1 + 0.2 + 0.7 + 2e-16, "below": -1e-17, "numpy": numpy.float32(0.5), "bool": numpy.bool_(True),
            "fraction": Fraction(1, 4), "text": "1.0", "none": None, "two": 2, "nan": float("nan"), "list": [1.0],
            "array": numpy.ones(2)}.get(completion) if completion != "exit" else sys.exit(1)
"""


def test_scores_of_any_library_count_and_what_is_no_score_is_told_with_its_type(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is called as one of Python's own modules, which it imports."""
    (tmp_path / "random.py").write_text(SCORES)
    task = build_task(TaskSpec("code:scores", {"code": f"{tmp_path / 'random.py'}:Scores"}))
    assert isinstance(task, CodeTask)
    problem = task.problem(1)
    given = [task.score(problem, text) for text in ("sum", "below", "numpy", "bool", "fraction")]
    assert given == [1.0, 0.0, 0.5, 1.0, 0.25]
    for text, words in (
        ("text", "it gave '1.0' (str)"),
        ("none", "it gave 'None' (NoneType)"),
        ("two", "it gave '2' (int)"),
        ("nan", "it gave 'nan' (float)"),
        ("list", "(list)"),
        ("array", "raised TypeError"),
        ("exit", "SystemExit: 1"),
    ):
        caplog.clear()
        assert task.score(problem, text) is None
        assert words in caplog.text
    assert task.score(problem, "numpy") == 0.5
    task.worker.close()


@pytest.mark.parametrize(
    ("where", "source", "words"),
    [
        ("own.py:Own", "import sys\nsys.exit('run me')\n", "does not load: SystemExit: run me"),
        ("own:Own", "class Own: ...\n", "own is a file and no installed package: write own.py:Own"),
        (
            "own.py:Own",
            "class Own:\n def problem(self, seed): return '\\ud800', '1'\n",
            "half of a surrogate pair",
        ),
    ],
)
def test_code_that_gives_no_problem_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, source: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(TaskError, match=words):
        build_task(TaskSpec("code:own", {"code": where})).problem(1)


def test_what_a_policy_is_judged_by_is_made_of_no_training_seed(tmp_path: Path) -> None:
    [config] = load_config(written(tmp_path)).tasks
    task = build_task(config.spec)
    held_out, training = (
        [task.problem(first + offset).prompt for offset in range(30)] for first in (HELD_OUT_SEED, 0)
    )
    assert all(is_held_out(task.name, prompt) for prompt in held_out)
    assert not any(is_held_out(task.name, prompt) for prompt in training)


def test_a_class_of_too_few_problems_says_so(tmp_path: Path) -> None:
    [config] = load_config(written(tmp_path, VOWELS.replace("Random(seed)", "Random(0)"))).tasks
    task = build_task(config.spec)
    with pytest.raises(TaskError, match="too few different prompts"):
        [task.problem(seed) for seed in (0, HELD_OUT_SEED)]


def test_an_invite_names_code_and_never_starts_it(tmp_path: Path) -> None:
    founder = with_digests(load_config(written(tmp_path)))
    manifest = manifest_of(founder)
    [spec] = manifest.tasks
    assert spec.name == "code:vowels" and set(spec.params) == {"source"} and "own" not in repr(manifest)

    def join(config: Config, task: TaskSpec = spec) -> Config:
        return as_swarm_node(config, [Invite(replace(manifest, tasks=(task,)), (ADDRESS,)).encode()])

    with pytest.raises(ConfigError, match="only what its own config names"):
        join(load_config("tiny"))
    touched = tmp_path / "touched"
    (tmp_path / "evil.py").write_text(f"open({str(touched)!r}, 'w')\nclass Evil: pass\n")
    evil = TaskSpec("code:evil", {"source": "0" * 16, "code": f"{tmp_path / 'evil.py'}:Evil"})
    with pytest.raises(ConfigError, match="only what its own config names"):
        join(load_config("tiny"), evil)
    tree = json.loads(founder.model_dump_json()) | {
        "tasks": [{"name": evil.name, "params": dict(evil.params)}]
    }
    with pytest.raises(TaskError, match="only what its own config names"):
        build_task(Config.model_validate(tree).tasks[0].spec)
    assert not touched.exists()

    joined = join(load_config(written(tmp_path)))
    assert build_task(joined.tasks[0].spec).name == f"code:vowels@{spec.params['source']}"
    written(tmp_path, VOWELS + "\n# another\n")
    with pytest.raises(TaskError, match=f"digest here [0-9a-f]{{16}}, there {spec.params['source']}"):
        build_task(join(load_config(tmp_path / "own.toml")).tasks[0].spec)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("class Vowels: pass\n", "no attribute 'problem'"),
        ("raise RuntimeError('no such data')\n", "does not load: RuntimeError: no such data"),
        ("import os\nos._exit(3)\n", "it ended its own process, with exit code 3"),
        ("raise KeyboardInterrupt\n", "does not load: KeyboardInterrupt$"),
        ("class Vowels:\n    def problem(self, seed): return seed\n", "two texts"),
    ],
)
def test_code_that_cannot_be_used_is_refused_in_its_own_words(source: str, why: str, tmp_path: Path) -> None:
    [config] = load_config(written(tmp_path, source)).tasks
    with pytest.raises(TaskError, match=why):
        build_task(config.spec).problem(0)


def test_a_check_finds_what_a_swarm_would_trip_over(tmp_path: Path) -> None:
    def faults(source: str) -> list[str]:
        written(tmp_path, source)
        done = CliRunner().invoke(app, ["tasks", "check", f"{tmp_path / 'own.py'}:Vowels", "--json"])
        found = json.loads(done.stdout)["faults"]
        assert done.exit_code == (2 if found else 0)
        return found

    assert faults(VOWELS) == []
    impure = VOWELS.replace("random.Random(seed)", "random.Random(hash(str(seed)))")
    assert any("process to process" in fault for fault in faults(impure))
    assert any(
        "no verdict on nothing" in fault and "on '' where " in fault and "it raised IndexError" in fault
        for fault in faults(VOWELS.replace("[-1:]", "[-1]"))
    )
    leaves = VOWELS.replace(
        "def score(self, problem, completion):",
        "def score(self, problem, completion):\n        raise SystemExit",
    )
    assert any(
        "no verdict on a right answer" in fault and "raised SystemExit" in fault for fault in faults(leaves)
    )
