"""Config: presets, overrides, and messages that name the key and what was meant."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from node.config.reading import PRESETS, load_config, read_resolved, resolved_json
from node.config.schema import Config, ConfigError, parse_config

SORT = {"tasks": [{"name": "sort"}]}


def test_override_wins_over_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('rounds = 7\n[[tasks]]\nname = "sort"\n[sampler]\nlocal = 3\n')
    config = load_config(file, ["sampler.local=5", "policy.trainer.learning_rate=1e-3", "device=cpu"])
    assert (config.rounds, config.sampler.local, config.device) == (7, 5, "cpu")
    assert config.policy.trainer.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"round": 5}, "round: unknown key; did you mean 'rounds'?"),
        ({"sampler": {"locl": 3}}, "sampler.locl: unknown key; did you mean 'sampler.local'?"),
        ({"swarm": {"type": "dht", "boot": []}}, "swarm.boot: unknown key; did you mean 'swarm.bootstrap'?"),
        (
            {"policy": {"type": "embedded", "trainer": {"learnin_rate": 1}}},
            "did you mean 'policy.trainer.learning_rate'?",
        ),
        ({"tasks": [{"name": "sort", "wight": 2}]}, "tasks.0.wight: unknown key; did you mean 'weight'?"),
        (
            {"tasks": [{"name": "data:x", "source": "x.jsonl"}]},
            "tasks.0.source: unknown key; did you mean 'path'?",
        ),
        (
            {"tasks": [{"name": "data:x", "reward": []}]},
            "tasks.0.reward: unknown key; did you mean 'verifier'?",
        ),
        (
            {"tasks": [{"name": "data:x", "question": "{q}"}]},
            "tasks.0.question: unknown key; did you mean 'prompt'?",
        ),
        ({"tasks": [{"name": "sort"}, {"name": "sort", "weight": 2}]}, "tasks: sort is there twice: "),
        (
            {"tasks": [{"name": "data:x", "path": "a"}, {"name": "data:x", "path": "b"}]},
            "data:x is there twice: give own",
        ),
        ({"tasks": [{"name": "data:x", "params": {"verifier": "number"}}]}, "write verifier beside its name"),
        ({"zzz": 1}, "zzz: unknown key; known keys: checkpoint, "),
        (
            {"strategy": {"type": "brorl", "kep": 1}},
            "strategy.kep: unknown key; did you mean 'strategy.keep'?",
        ),
        ({"sampler": {"relief": 0.5}}, "sampler.relief: this key is now called 'sampler.retry_unsolved'"),
        ({"strategy": {"keep_silent": True}}, "this key is now called 'strategy.keep_zero_advantage'"),
        (
            {"policy": {"type": "diffusion", "forward": {"foreign_share": 0.2}}},
            "this key is now called 'policy.forward.external_share'",
        ),
        ({"twin": True}, "twin: this key is now called 'silo_baseline'"),
        (
            {"strategy": {"type": "april", "over": 2}},
            "strategy.over: this key is now called 'strategy.oversample'",
        ),
        (
            {"strategy": {"type": "april", "inner": {"type": "dars", "max_rolouts": 9}}},
            "strategy.inner.max_rolouts: unknown key; did you mean 'strategy.inner.max_rollouts'?",
        ),
    ],
)
def test_unknown_key_names_the_nearest(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(SORT | tree)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"rounds": 0}, "rounds: "),
        ({"strategy": {"rollouts": 1}}, "strategy.rollouts: 1 in a group leaves nothing to compare with"),
        ({"strategy": {"type": "brorl", "keep": 500}}, "strategy: keep is 500: set 2 to 128"),
        ({"strategy": {"type": "dars", "max_rollouts": 4}}, "max_rollouts is 4 and stage 1 takes 8"),
        ({"strategy": {"type": "april", "oversample": 0.5}}, "under 1 a round cannot end"),
        (
            {
                "strategy": {
                    "type": "april",
                    "stale": "recompute",
                    "inner": {"type": "dars", "breadth": {"epochs": 2}},
                }
            },
            "2 epochs on stale tokens without importance correction",
        ),
        ({"tasks": []}, "tasks: "),
        ({"sampler": {"external": 4}}, "sampler.external must be 0 in a silo"),
    ],
)
def test_bad_value_names_its_key(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(SORT | tree)


WORDS = [
    ({"tasks": []}, "tasks: must have at least 1, has 0"),
    ({"tasks": "sort"}, "tasks: must be a list; it is 'sort'"),
    ({"tasks": [{}]}, "tasks.0.name: missing; it must be given"),
    ({"tasks": [{"name": "sort", "params": {"n": [1]}}]}, "tasks.0.params.n: must be "),
    ({"rounds": 0}, "rounds: must be at least 1; it is 0"),
    ({"rounds": "many"}, "rounds: must be a whole number; it is 'many'"),
    ({"rounds": ""}, "rounds: must be a whole number; it is ''"),
    ({"rounds": 10**26}, "rounds: must be at most 9223372036854775807; it is 1.000e+26"),
    ({"seed": 10**23}, "seed: must be at most 9223372036854775807; it is 1.000e+23"),
    ({"checkpoint": {"keep": 2**63}}, "checkpoint.keep: must be at most 9223372036854775807"),
    ({"threads": 10**8}, "threads: must be at most 1024; it is 100000000"),
    ({"sampler": {"local": 10**11}}, "sampler.local: must be at most 4096; it is 100000000000"),
    ({"sampler": {"external": 5000}}, "sampler.external: must be at most 4096; it is 5000"),
    ({"evaluation": {"problems": 10**9}}, "evaluation.problems: must be at most 100000; it is 1000000000"),
    (
        {"policy": {"type": "embedded", "trainer": {"learning_rate": float("inf")}}},
        "policy.trainer.learning_rate: must be a finite number; it is inf",
    ),
    ({"swarm": {"type": "dht", "poll_seconds": float("inf")}}, "poll_seconds: must be a finite number"),
    ({"rounds": 10**5000}, "rounds: must be at most 9223372036854775807; it is a number of over 300 digits"),
    ({"tasks": [{"name": "sort", "weight": 10**400}]}, "tasks.0.weight: must be at most 9223372036854775807"),
    ({"strategy": {"replace": 1e308}}, "strategy.replace: must be at most 1e+09; it is 1e+308"),
    ({"swarm": {"type": "dht", "join_seconds": 10**12}}, "join_seconds: must be at most 1e+09; it is 1e+12"),
    (
        {"policy": {"generation": {"temperature": 1e-320}}},
        "policy.generation.temperature: must be 0, or at least 1e-30; it is 9.99989e-321",
    ),
    ({"swarm": {"type": "dht", "epoch_seconds": 0.001}}, "swarm.epoch_seconds: must be at least 1"),
    ({"rounds": 1.5}, "rounds: must be a whole number; it is 1.5"),
    (
        {"device": "cudo"},
        "device: must be 'auto', 'cpu', 'cuda', 'mps' or one GPU, such as 'cuda:1'; it is 'cudo'",
    ),
    ({"strategy": {"type": "ppo"}}, "strategy.type: must be 'grpo', 'brorl', 'dars', 'april'; it is 'ppo'"),
    ({"strategy": {"type": 3}}, "strategy.type: must be "),
    ({"strategy": {"type": ["grpo"]}}, "strategy.type: must be "),
    ({"strategy": [3]}, "strategy: must be a section of keys; it is [3]"),
    ({"strategy": "grpo"}, "strategy: must be a section of keys; it is 'grpo'"),
    ({"policy": {"type": "embeded"}}, "did you mean 'embedded'?"),
    ({"policy": {"type": "text"}}, "policy.model: missing; it must be given"),
    ({"swarm": {"type": "dht", "client_mode": "maybe"}}, "must be true or false or 'auto'; it is 'maybe'"),
    ({"swarm": {"type": "dht", "lan": 7}}, "swarm.lan: must be true or false; it is 7"),
    ({"swarm": {"type": "dht", "member_key": "x"}}, "swarm.member_key: must be a string of the form "),
    ({"swarm": {"type": "dht", "bootstrap": [3]}}, "swarm.bootstrap.0: must be a string; it is 3"),
    ({"evaluation": 3}, "evaluation: must be a section of keys; it is 3"),
    (
        {"policy": {"trainer": {"learning_rate": "fast"}}},
        "policy.trainer.learning_rate: must be a number; it is 'fast'",
    ),
    ({"sampler": {"max_age": float("nan")}}, "sampler.max_age: must be "),
    (
        {"policy": {"type": "diffusion", "source": {"type": "dig"}}},
        "policy.source.type: must be 'digits', 'pipeline'",
    ),
    ({"strategy": {"type": "april", "inner": {"type": "x"}}}, "strategy.inner.type: must be "),
]


@pytest.mark.parametrize(("tree", "message"), WORDS)
def test_a_wrong_value_is_told_in_the_words_of_the_config(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(SORT | tree)
    said = str(caught.value)
    assert message in said
    assert not re.search("lambda|pydantic|Input|instance|discriminat|validat|found using|dict|tuple", said)
    assert "another kind of value" not in said


def test_a_config_of_before_is_read_from_its_run_folder(tmp_path: Path) -> None:
    kept = tmp_path / "config.json"
    tree = json.loads(resolved_json(parse_config(SORT)))
    tree["twin"] = tree.pop("silo_baseline")
    tree["sampler"]["relief"] = tree["sampler"].pop("retry_unsolved")
    tree["tasks"][0]["params"] = {"over": 2}
    kept.write_text(json.dumps(tree))
    assert read_resolved(kept).tasks[0].params == {"over": 2}
    for damage in ("", "{", "[]", "3", '{"tasks": 1}'):
        kept.write_text(damage)
        with pytest.raises(ConfigError):
            read_resolved(kept)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(SORT | {"rounds": 0, "sed": 1})
    assert len(str(caught.value).splitlines()) == 2


def test_missing_file_lists_presets() -> None:
    with pytest.raises(ConfigError, match="tiny"):
        load_config("no-such-preset")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a = " + b"[" * 100_000 + b"]" * 100_000, "not valid TOML"),
        (b'a = "\\d+"', "in single quotes a backslash is one, as in pattern = "),
        ("rounds = 3".encode("utf-16"), "not UTF-8 text (invalid start byte): save it as UTF-8"),
        (b'tasks = ["sort"]', "tasks.0: must be a section of keys; it is 'sort'"),
        (b"tasks = []", "tasks: must have at least 1, has 0"),
    ],
)
def test_a_file_that_is_no_config_is_told_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "mine.toml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_mark_that_some_editors_put_at_the_head_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'\xef\xbb\xbftasks = [{name = "sort"}]\r\n')
    assert [task.name for task in load_config(tmp_path / "mine.toml").tasks] == ["sort"]


def test_a_kept_config_that_nests_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is damaged"):
        read_resolved(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "it is empty"),
        ("null\n", "it holds null, which is no config"),
        ("[]", "it holds []"),
        ('""', "it holds"),
    ],
)
def test_a_kept_config_that_holds_something_else_is_damaged(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError) as raised:
        read_resolved(tmp_path / "config.json")
    assert f"is damaged ({words}" in str(raised.value) and "restore the file" in str(raised.value)


def test_a_key_that_a_kept_config_should_not_have_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"tasks": [{"name": "sort"}], "rouds": 3}')
    with pytest.raises(ConfigError, match=r"config\.json: rouds: unknown key; did you mean 'rounds'"):
        read_resolved(tmp_path / "config.json")


def test_broken_toml_and_bad_override(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("rounds = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(broken)
    with pytest.raises(ConfigError, match="takes key=value"):
        load_config("tiny", ["rounds"])
    with pytest.raises(ConfigError, match="--set rounds: no number is this long"):
        load_config("tiny", ["rounds=1" + "0" * 5000])
    broken.write_text("rounds = 1" + "0" * 5000)
    with pytest.raises(ConfigError, match="not valid TOML: a number of over 4,300 digits"):
        load_config(broken)
    with pytest.raises(ConfigError, match="rounds is a value"):
        load_config("tiny", ["rounds=3", "rounds.x=1"])


@pytest.mark.parametrize("preset", sorted(path.stem for folder in PRESETS for path in folder.glob("*.toml")))
def test_presets_are_valid_short_and_survive_the_run_folder(preset: str, tmp_path: Path) -> None:
    config = load_config(preset)
    kept = tmp_path / "config.json"
    kept.write_text(resolved_json(config))
    assert read_resolved(kept) == config
    assert config.checkpoint.every > 1  # a save holds what was seen of peers, a megabyte
    source = next(path for folder in PRESETS for path in folder.glob(f"{preset}.toml"))
    assert len(source.read_text().splitlines()) <= 30


def test_schema_documents_every_key() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))
    undocumented = [
        f"{section}.{key}"
        for section, body in {"Config": schema, **schema["$defs"]}.items()
        for key, value in body.get("properties", {}).items()
        if "description" not in value
    ]
    assert undocumented == []


def test_a_task_that_cannot_be_read_is_told_alone_and_not_as_a_list_of_none() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config({"tasks": [{"name": "sort", "wight": 2}]})
    assert str(raised.value) == "tasks.0.wight: unknown key; did you mean 'weight'?"
    with pytest.raises(ConfigError, match="tasks: must have at least 1, has 0"):
        parse_config({"tasks": []})
