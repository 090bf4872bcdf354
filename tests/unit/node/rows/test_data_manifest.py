"""What an invite says of shared rows, and what is refused of an invite that a stranger made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared_rows_case import ADDRESS, ROWS, invite, owner

from node.arguments import join_config, run_config
from node.config.reading import load_config
from node.config.roles import as_swarm_node, manifest_of
from node.config.schema import ConfigError, parse_config
from policies.tasks import TaskError, TaskSpec, build_task
from policies.tasks.task import Param
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest

GOOD: dict[str, Param] = {"rows": "0" * 16, "rules": "1" * 16}
REVISION = "a" * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_an_invite_names_digests_size_templates_and_verifier_and_no_path(tmp_path: Path) -> None:
    config = owner(tmp_path / "secret place")
    [task] = Invite.decode(invite(config)).manifest.tasks
    assert set(task.params) == {"rows", "rules", "count", "prompt", "answer", "verifier", "pieces", "size"}
    assert task.params["count"] == 40 and json.loads(str(task.params["prompt"])) == "Add: {question} \u2192"
    assert b"secret" not in manifest_of(config).encode() and b"travelling" not in manifest_of(config).encode()


def test_equal_rows_have_equal_pieces_wherever_they_stand(tmp_path: Path) -> None:
    one = owner(tmp_path / "a")
    (tmp_path / "b").mkdir()
    text = (tmp_path / "a" / "own.toml").read_text().replace("sums.jsonl", "other.csv")
    (tmp_path / "b" / "own.toml").write_text(text)
    lines = [f"{row['answer']},{row['question']}" for row in reversed(ROWS)]
    (tmp_path / "b" / "other.csv").write_text("\n".join(["answer,question", *lines]))
    other = run_config(str(tmp_path / "b" / "own.toml"), [], None)
    assert manifest_of(one).swarm_id == manifest_of(other).swarm_id


def test_a_joiner_s_templates_come_with_the_invite_and_its_own_word_goes_before(tmp_path: Path) -> None:
    config = owner(tmp_path / "a")
    joined, _ = join_config([invite(config)], "tiny", [], None)
    [task] = joined.tasks
    assert (task.prompt, task.verifier) == ("Add: {question} \u2192", {"name": "number", "tolerance": 0.1})
    path = tmp_path / "a" / "sums.jsonl"
    mine = f'tasks=[{{name="data:sums",path="{path}"}}]'
    [task] = join_config([invite(config)], "tiny", [mine], None)[0].tasks
    assert build_task(task.spec).name == build_task(config.tasks[0].spec).name
    mine = f'tasks=[{{name="data:sums",path="{path}",prompt="{{question}}"}}]'
    [task] = join_config([invite(config)], "tiny", [mine], None)[0].tasks
    with pytest.raises(TaskError, match=r"the templates or the verifier .* of another release: use the same"):
        build_task(task.spec)


def test_a_verifier_of_another_version_is_told_from_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = owner(tmp_path / "a")
    monkeypatch.setattr("policies.tasks.verifiers.number.Number.version", "9")
    with pytest.raises(TaskError, match="the verifier is of another release") as raised:
        build_task(config.tasks[0].spec)
    assert "the rows of" not in str(raised.value)


def test_who_has_another_row_is_told_digests_counts_and_how_to_get_the_swarm_s(tmp_path: Path) -> None:
    config = owner(tmp_path / "a")
    owner(tmp_path / "b")
    file = tmp_path / "b" / "sums.jsonl"
    file.write_text(file.read_text().replace('"41"', '"42"'))
    joined, _ = join_config([invite(config)], str(tmp_path / "b" / "own.toml"), [], None)
    with pytest.raises(TaskError) as raised:
        build_task(joined.tasks[0].spec)
    digest = config.tasks[0].params["rows"]
    assert f"the rows of {file} (digest here " in str(raised.value)
    assert f" of 40 rows, there {digest} of 40 rows)" in str(raised.value)
    assert "The swarm shares its rows: join without a path" in str(raised.value)


def test_rows_beyond_the_bound_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match=r"at most 0.001 are shared: take a part of them, raise swarm.traffic.rows"
    ):
        owner(tmp_path, "traffic.rows = 0.001")
    long = f'prompt = "{{question}}{"x" * 2000}"\n'
    text = (tmp_path / "own.toml").read_text().replace("traffic.rows = 0.001", "")
    (tmp_path / "own.toml").write_text(text.replace('prompt = "Add: {question} \\u2192"\n', long))
    with pytest.raises(TaskError, match="an invite holds at most 1024 characters of prompt: shorten"):
        run_config(str(tmp_path / "own.toml"), [], None)


def test_a_data_set_of_the_hub_is_named_at_its_revision_and_a_local_one_is_not() -> None:
    shared = {"name": "data:x", "path": "hf:openai/gsm8k", "revision": REVISION}
    [task] = parse_config({"tasks": [shared]}).tasks
    assert task.spec.params["path"] == "hf:openai/gsm8k"
    with pytest.raises(ConfigError, match="sort takes no share: these are for own questions"):
        parse_config({"tasks": [{"name": "sort", "share": True}]})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"prompt": "not json"}, "its prompt cannot be read"),
        ({"verifier": "[" * 900}, "its verifier cannot be read"),
        ({"prompt": "7"}, "its prompt is no text"),
        ({"answer": "[]"}, "its answer is no text"),
        ({"prompt": '"\\u001b[2J{q}"'}, r"its prompt holds the control character U\+001B"),
        ({"prompt": '"{q}\\ud800"'}, r"its prompt holds the control character U\+D800"),
        ({"verifier": '{"name": "\\u009b"}'}, r"its verifier holds the control character U\+009B"),
        ({"verifier": '[{"name": "regex", "pattern": "\\u0000"}]'}, r"control character U\+0000"),
        ({"verifier": "true"}, "verifier takes a name, a table or a list of tables"),
        ({"verifier": "[1]"}, "verifier takes a name, a table or a list of tables"),
        ({"verifier": '["number"]'}, "verifier takes a name, a table or a list of tables"),
        ({"rows": "x" * 16}, "its digests are not of 16 hex digits"),
        ({"rules": "0" * 15}, "its digests are not of 16 hex digits"),
        ({"count": -5}, "counts rows that no task has, -5"),
        ({"count": 10**9}, "counts rows that no task has"),
        ({"source": "hf:a/b", "revision": REVISION, "subset": "../x"}, "its subset or split is none"),
        ({"pieces": "0" * 64}, "its shared rows have no digest, or no size"),
        ({"size": 5}, "its shared rows have no digest, or no size"),
        ({"pieces": "../../x", "size": 5}, "its shared rows have no digest, or no size"),
        ({"pieces": "0" * 64, "size": 2**40}, "its shared rows have no digest, or no size"),
        ({"pieces": "0" * 64, "size": "5"}, "its parameters have other types"),
        ({"count": True}, "its parameters have other types"),
        ({"source": "hf:openai/gsm8k"}, "its source is no hf:OWNER/NAME at a pinned revision"),
        ({"source": "hf:../home/x", "revision": REVISION}, "its source is no hf:OWNER/NAME"),
        ({"source": "hf:/etc", "revision": REVISION}, "its source is no hf:OWNER/NAME"),
        ({"source": "/etc/passwd", "revision": REVISION}, "its source is no hf:OWNER/NAME"),
        ({"source": "hf:a/b", "revision": "main"}, "its source is no hf:OWNER/NAME"),
        ({"path": "x.jsonl"}, "has to name rows and rules"),
    ],
)
def test_an_invite_that_a_stranger_made_is_refused_in_words(more: dict[str, Param], words: str) -> None:
    """Also where the joiner has a task of that name in its own config."""
    manifest = Manifest("flock", (TaskSpec("data:sums", {**GOOD, **more}),))
    mine = parse_config({"tasks": [{"name": "data:sums", "path": "mine.jsonl"}]})
    for config in (load_config("tiny"), mine):
        with pytest.raises(ConfigError, match=words) as raised:
            as_swarm_node(config, [Invite(manifest, (ADDRESS,)).encode()])
        assert str(raised.value).startswith("the invite's task data:sums: ")


def test_an_invite_names_no_task_twice() -> None:
    tasks = tuple(TaskSpec("data:sums", {**GOOD, "rules": digit * 16}) for digit in "23")
    with pytest.raises(ConfigError, match="the invite names the task data:sums twice: ask for a new invite"):
        as_swarm_node(load_config("tiny"), [Invite(Manifest("flock", tasks), (ADDRESS,)).encode()])
