"""Data tasks in configs, runs and swarms: absolute paths, digests that travel, and nothing else that does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.arguments import join_config, run_config, silo_config
from node.config.data_files import with_digests
from node.config.reading import load_config, read_resolved, resolved_json
from node.config.roles import as_swarm_node, manifest_of
from node.config.schema import ConfigError, parse_config
from policies.tasks import TaskError, TaskSpec, build_task
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest

PEER = "12D3KooWJJzaGSBhcUzpyPqBEUB3ESKa53pTvwKM9hx7vcQXm7A8"
ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}"
CONFIG = """
rounds = 2
[[tasks]]
name = "data:sums"
path = "rows/sums.jsonl"
verifier = { name = "number", tolerance = 0.1 }
weight = 3
[swarm]
type = "dht"
"""


def folder_of(path: Path, answer: str = "4") -> Path:
    (path / "rows").mkdir(parents=True)
    rows = [{"question": f"{i} + 2", "answer": str(i + 2)} for i in range(9)]
    rows.append({"question": "last", "answer": answer})
    (path / "rows" / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "own.toml").write_text(CONFIG)
    return path / "own.toml"


def invite_of(file: Path) -> Invite:
    return Invite(manifest_of(run_config(str(file), [], None)), (ADDRESS,))


def test_a_path_is_seen_from_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder_of(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    assert load_config("there/own.toml").tasks[0].path == str(tmp_path / "there" / "rows" / "sums.jsonl")
    named = load_config("tiny", ['tasks=[{name="data:x",path="there/rows/sums.jsonl"}]'])
    assert named.tasks[0].path == str(tmp_path / "there" / "rows" / "sums.jsonl")
    hub = load_config("tiny", ['tasks=[{name="data:x",path="hf:openai/gsm8k"}]'])
    assert hub.tasks[0].path == "hf:openai/gsm8k"
    local = load_config("tiny", ['tasks=[{name="data:x",path="hf:there/rows"}]'])
    assert local.tasks[0].path == f"hf:{tmp_path}/there/rows"
    assert file.is_absolute()
    file.write_text(f'identity = "keys/mine.key"\n{CONFIG}')
    assert load_config("there/own.toml").identity == str(tmp_path / "there" / "keys" / "mine.key")
    assert load_config("tiny", ["identity=~/mine.key"]).identity == str(Path.home() / "mine.key")
    with pytest.raises(
        OSError, match=r"~nobody-here/mine\.key begins with a home folder .*: write the path out"
    ):
        load_config("tiny", ["identity=~nobody-here/mine.key"])
    assert load_config("tiny", ["identity=mine.key"]).identity == str(tmp_path / "mine.key")
    assert load_config("tiny").identity == ""


def test_an_invite_carries_name_and_digests_and_no_path(tmp_path: Path) -> None:
    invite = invite_of(folder_of(tmp_path / "secret place"))
    [task] = Invite.decode(invite.encode()).manifest.tasks
    assert task.name == "data:sums" and set(task.params) == {
        "rows",
        "rules",
        "count",
        "prompt",
        "answer",
        "verifier",
    }
    assert b"secret" not in invite.manifest.encode() and b"+ 2" not in invite.manifest.encode()


def test_a_joiner_with_equal_rows_meets_the_founder_s_task(tmp_path: Path) -> None:
    founder, joiner = folder_of(tmp_path / "a"), folder_of(tmp_path / "b")
    invite = invite_of(founder)
    joined, _ = join_config([invite.encode()], str(joiner), [], None)
    assert manifest_of(joined).swarm_id == invite.manifest.swarm_id
    assert joined.tasks[0].path == str(tmp_path / "b" / "rows" / "sums.jsonl") and joined.tasks[0].weight == 3
    names = {
        build_task(task.spec).name for task in (*joined.tasks, *run_config(str(founder), [], None).tasks)
    }
    assert len(names) == 1


def test_a_joiner_whose_file_differs_in_a_row_is_told_which_digest_differs(tmp_path: Path) -> None:
    invite = invite_of(folder_of(tmp_path / "a"))
    joined, _ = join_config([invite.encode()], str(folder_of(tmp_path / "b", answer="5")), [], None)
    with pytest.raises(
        TaskError,
        match=r"the rows of .*/b/rows/sums.jsonl \(digest here \w{16} of 10 rows, there \w{16} of 10 rows\)",
    ):
        build_task(joined.tasks[0].spec)


def test_a_joiner_without_the_file_is_told_what_is_missing(tmp_path: Path) -> None:
    invite = invite_of(folder_of(tmp_path / "a"))
    joined, _ = join_config([invite.encode()], "tiny", [], None)
    with pytest.raises(
        TaskError, match=r"data:sums: the swarm trains on rows with the digest \w{16}.*no file of them"
    ):
        build_task(joined.tasks[0].spec)


@pytest.mark.parametrize(
    "params",
    [
        {"rows": "0", "rules": "1", "path": "/etc/passwd"},
        {"path": "hf:some/set"},
        {},
        {"rows": "0"},
        {"verifier": "regex"},
        {"rows": "0", "rules": "1", "verifier": '"exact"', "module": "os"},
    ],
)
def test_an_invite_that_says_more_of_a_data_task_is_refused(params: dict[str, str]) -> None:
    manifest = Manifest("flock", (TaskSpec("data:sums", params),))
    with pytest.raises(ConfigError, match="has to name rows and rules, and names"):
        as_swarm_node(load_config("tiny"), [Invite(manifest, (ADDRESS,)).encode()])


def test_a_run_goes_on_with_the_rows_that_it_was_begun_with(tmp_path: Path) -> None:
    file = folder_of(tmp_path / "a")
    kept = tmp_path / "config.json"
    kept.write_text(resolved_json(silo_config(str(file), [], None)))
    again = read_resolved(kept)
    assert build_task(again.tasks[0].spec).name.startswith("data:sums@")
    assert with_digests(again) == again
    (tmp_path / "a" / "rows" / "sums.jsonl").write_text(
        '{"question":"1","answer":"1"}\n{"question":"2","answer":"2"}\n'
    )
    with pytest.raises(TaskError, match="not those that this run, or the swarm, was begun with: the rows of"):
        build_task(again.tasks[0].spec)


@pytest.mark.parametrize("key", ["path", "prompt", "answer", "verifier", "split", "subset", "revision"])
def test_other_tasks_have_no_rows(key: str) -> None:
    with pytest.raises(ConfigError, match=f"sort takes no {key}: these are for own questions"):
        parse_config({"tasks": [{"name": "sort", key: "x"}]})
