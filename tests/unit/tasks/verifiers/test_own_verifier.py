"""Own verifiers: an installed package's function, bounded, named by its source, and started by nobody's invite."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.arguments import run_config
from node.config.reading import load_config
from node.config.roles import as_swarm_node, manifest_of
from node.config.schema import ConfigError
from policies.tasks import build_task
from policies.tasks.task import TaskError
from policies.tasks.verifiers import own
from policies.tasks.verifiers.build import build_verifier
from policies.tasks.verifiers.verifier import VerifierError
from policies.unjudged import WANTED, reasons_heard
from swarm.wire.invite import Invite

CODE = """
from pathlib import Path
Path(__file__).with_name("touched").touch()
def score(completion, answer):
    if completion == "hang":
        while True: pass
    if completion == "raise": raise KeyError("x")
    if completion == "two": return 2
    if completion == "leave": raise SystemExit
    if completion == "interrupt": raise KeyboardInterrupt
    if completion == "exit":
        import os
        os._exit(0)
    if completion == "nan": return float("nan")
    if completion == "none": return None
    if completion == "text": return "1.0"
    if completion == "turned": raise ValueError("\u202e\x1b[2J")
    return float(answer.split()[0] in completion)
"""
UNITS = {"name": "units", "package": "my-units"}
ADDRESS = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf"
CONFIG = """
swarm.type = "dht"
[[tasks]]
name = "data:lengths"
path = "lengths.jsonl"
verifier = { name = "units", package = "my-units" }
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which the package my-units 1.2 is installed, as pip would leave it."""
    site = tmp_path / "site"
    facts = site / "my_units-1.2.dist-info"
    facts.mkdir(parents=True)
    (site / "my_units_code.py").write_text(CODE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my_units\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text(f"[{own.GROUP}]\nunits = my_units_code:score\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{':'.join(sys.path)}")
    monkeypatch.setattr(own, "_workers", {})
    yield site
    for worker in own._workers.values():
        worker.close()


def test_it_scores_within_its_seconds_and_its_name_holds_its_source(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, rules = build_verifier([{**UNITS, "weight": 3}, {"name": "number", "weight": 1}])
    assert [verifier.score(text, "3 m") for text in ("3", "5 3 4", "7")] == [1.0, 0.75, 0.0]
    [worker] = own._workers.values()
    monkeypatch.setattr(worker, "cpu_seconds", 0.3)
    assert [verifier.score(text, "3 m") for text in ("hang", "raise", "two")] == [None] * 3
    assert verifier.score("3", "3 m") == 1.0
    [[_, version, described], _] = json.loads(rules)
    assert version.startswith("1.2 ") and len(version) == 20 and described == UNITS
    monkeypatch.setattr(own, "_workers", {})
    worker.close()
    (package / "my_units_code.py").write_text(CODE + "# another\n")
    assert version not in build_verifier(UNITS)[1]


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        ("hang", "it took over 0.3 s of computing, or 60 s in all"),
        ("raise", "it raised KeyError: 'x'"),
        ("two", "it gave '2' (int) for a score"),
        ("leave", "it raised SystemExit"),
        ("interrupt", "it raised KeyboardInterrupt"),
        ("exit", "it ended its own process, with exit code 0"),
        ("nan", "it gave 'nan' (float) for a score"),
        ("none", "it gave 'None' (NoneType) for a score"),
        ("text", "it gave '1.0' (str) for a score"),
        ("turned", r"it raised ValueError: \u202e\x1b[2J"),
    ],
)
def test_what_it_did_in_place_of_a_score_is_told_with_the_text_and_the_rows_answer(
    completion: str, why: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier, _ = build_verifier(UNITS)
    [worker] = own._workers.values()
    monkeypatch.setattr(worker, "cpu_seconds", 0.3)
    with reasons_heard() as heard:
        assert verifier.score(completion, "3 m") is None
        assert verifier.score("3", "3 m") == 1.0
    assert heard == [f"verifier units of my-units, on '{completion}' where '3 m' is right: {why}; {WANTED}"]


def test_a_package_that_is_not_there_or_does_not_load_says_so(package: Path) -> None:
    with pytest.raises(VerifierError, match="pip install their-units, if you trust it"):
        build_verifier({"name": "units", "package": "their-units"})
    with pytest.raises(VerifierError, match="no verifier is called 'units'"):
        build_verifier("units")
    with pytest.raises(VerifierError, match=r"verifier number: it takes tolerance, and not 'package'"):
        build_verifier({"name": "number", "package": "my-units"})
    (package / "my_units_code.py").write_text("import nothing_like_it\n")
    with pytest.raises(VerifierError, match="does not load: ModuleNotFoundError"):
        build_verifier(UNITS)


def test_an_invite_that_names_one_starts_nothing(package: Path, tmp_path: Path) -> None:
    rows = [{"question": f"{n} m?", "answer": f"{n} m"} for n in range(5)]
    (tmp_path / "lengths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.toml").write_text(CONFIG)
    founder = run_config(str(tmp_path / "own.toml"), [], None)
    invite = Invite(manifest_of(founder), (ADDRESS,)).encode()
    assert (package / "touched").exists()
    (package / "touched").unlink()
    own._workers.clear()

    path = f'[[tasks]]\nname = "data:lengths"\npath = "{tmp_path / "lengths.jsonl"}"\n'
    (tmp_path / "joins.toml").write_text(path)
    for config in (load_config("tiny"), load_config(tmp_path / "joins.toml")):
        with pytest.raises(
            ConfigError, match="scored by code of my-units, and a node runs only what its own config"
        ):
            as_swarm_node(config, [invite])
    assert not (package / "touched").exists()

    (tmp_path / "joins.toml").write_text(path + 'verifier = { name = "units", package = "my-units" }\n')
    [task] = as_swarm_node(load_config(tmp_path / "joins.toml"), [invite]).tasks
    assert build_task(task.spec).name == build_task(founder.tasks[0].spec).name
    own._workers.clear()
    (package / "my_units_code.py").write_text(CODE + "# of another release\n")
    with pytest.raises(TaskError, match="the verifier is of another release: use the same"):
        build_task(task.spec)
