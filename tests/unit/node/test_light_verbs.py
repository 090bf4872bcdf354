"""What a verb loads: views of a run, and questions about this machine, load no library that trains or samples."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.config.reading import load_config
from node.failures import EXIT_CODES, exit_code
from node.storage.checkpoint import CheckpointError, NoSuchRound
from node.storage.run_folder import RunFolder
from policies.hardware import has_gpu, usable_cores
from policies.policy import PolicyError
from policies.tasks.task import TaskError, TaskPackageMissing
from swarm.errors import ExtraMissing, TransportDown

HEAVY = ("datasets", "diffusers", "hivemind", "pandas", "peft", "scipy", "torch", "transformers", "trl")
RUN = """
import atexit, json, sys
from pathlib import Path
told = Path(sys.argv[1])
atexit.register(lambda: told.write_text(json.dumps([name for name in sys.argv[0].split(",") if name in sys.modules])))
heavy, sys.argv = sys.argv[1:], ["murmur", *sys.argv[3:]]
told, sys.argv[0] = Path(heavy[0]), heavy[1]
from node.__main__ import main
main()
"""
VERBS = (
    "runs",
    "tasks",
    "stats",
    "rollouts",
    "peers",
    "config show",
    "config schema",
    "init",
    "bench --help",
)


@pytest.mark.parametrize(
    "verb", [*VERBS, pytest.param("doctor", marks=pytest.mark.skipif(has_gpu(), reason="asks"))]
)
def test_a_verb_that_only_looks_loads_nothing_heavy(verb: str, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = [sys.executable, "-c", RUN, str(told), ",".join(HEAVY), *verb.split()]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert json.loads(told.read_text()) == []


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("export drawn out", "trained a policy that makes images"),
        ("eval drawn", "trained a policy that makes images"),
        ("eval no/such --tasks add", "cannot load no/such: there is no folder of this name here"),
        ("eval nosuch", "does not say what it was trained on"),
        ("run smollm2 --set policy.model.path=no/such", "cannot load no/such: there is no folder"),
        ("run --resume --run-dir modelless", "cannot load /no/such: there is no such folder"),
        ("run --resume --run-dir drawn-modelless", "cannot load /no/such: there is no such folder"),
        ("run --resume --run-dir rowless", "gone.jsonl: no such file: put it back"),
        (
            "run --resume --run-dir changed",
            "not those that this run, or the swarm, was begun with: the rows of",
        ),
        ("silo --resume --run-dir rowless", "gone.jsonl: no such file: put it back"),
        ("run --resume --run-dir codeless", "gone.py: put it back"),
        ("arena --attack flod", "no attack 'flod'"),
        ("arena --malicious 2", "two or more have to be, and one hostile"),
        ("run smollm2 --dry-run --set policy.model.path=no/such", "cannot load no/such: there is no folder"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_heavy_is_loaded(
    verb: str, words: str, tmp_path: Path
) -> None:
    RunFolder(tmp_path / "drawn").create(load_config("digits"))
    _create_runs_that_lost_something(tmp_path)
    told = tmp_path / "told.json"
    command = [sys.executable, "-c", RUN, str(told), ",".join(HEAVY), *verb.split()]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=offline, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode in (2, 3), done.stdout) == (True, "") and words in done.stderr, done.stderr
    assert done.returncode == 3 or "such" not in words
    assert json.loads(told.read_text()) == []


def _create_runs_that_lost_something(folder: Path) -> None:
    """Runs that were begun once: what their configs name is gone, or is another by now."""
    (folder / "rows.jsonl").write_text(
        '{"question": "1?", "answer": "1"}\n{"question": "2?", "answer": "2"}\n'
    )
    digests = {"rows": "0" * 16, "rules": "0" * 16}
    for name, source, setting in (
        ("modelless", "smollm2", "policy.model.path='/no/such'"),
        ("drawn-modelless", "sd3", "policy.source.path='/no/such'"),
        ("rowless", "tiny", f"tasks=[{{name='data:a', path='{folder}/gone.jsonl'}}]"),
        ("changed", "tiny", f"tasks=[{{name='data:a', path='{folder}/rows.jsonl'}}]"),
        ("codeless", "tiny", f"tasks=[{{name='code:a', code='{folder}/gone.py:A'}}]"),
    ):
        config = load_config(source, [setting])
        if name == "changed":
            task = config.tasks[0].model_copy(update={"params": digests})
            config = config.model_copy(update={"tasks": (task,)})
        RunFolder(folder / name).create(config)


def test_the_list_of_heavy_libraries_is_seen_where_one_is_loaded(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = [sys.executable, "-c", "import scipy\n" + RUN, str(told), ",".join(HEAVY), "config", "show"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert json.loads(told.read_text()) == ["scipy"]


@pytest.mark.parametrize("name", EXIT_CODES)
def test_every_error_with_an_exit_code_is_where_its_name_says(name: str) -> None:
    module, _, kind = name.rpartition(".")
    found = getattr(importlib.import_module(module), kind)
    assert issubclass(found, Exception) and f"{found.__module__}.{found.__qualname__}" == name


def test_an_exit_code_goes_by_the_nearest_class() -> None:
    assert exit_code(TransportDown("gone")) == 4
    assert exit_code(PolicyError("no model")) == 3
    assert exit_code(FileNotFoundError(2, "gone")) == 3
    assert exit_code(KeyError("ours")) is None
    assert exit_code(NoSuchRound("a mistake")) == 2 and exit_code(CheckpointError("damaged")) == 3
    assert exit_code(TaskError("a mistake")) == 2
    assert exit_code(TaskPackageMissing("not installed")) == exit_code(ExtraMissing("not installed")) == 3


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1
