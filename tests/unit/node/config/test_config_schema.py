"""Config: presets, overrides, and messages that name the key and what was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.config.schema import (
    PRESETS,
    Config,
    ConfigError,
    load_config,
    parse_config,
    read_resolved,
    resolved_json,
)

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
        ({"sampler": {"locl": 3}}, "sampler.locl: unknown key; did you mean 'local'?"),
        ({"swarm": {"type": "dht", "boot": []}}, "swarm.boot: unknown key; did you mean 'bootstrap'?"),
        ({"policy": {"type": "embedded", "trainer": {"learnin_rate": 1}}}, "did you mean 'learning_rate'?"),
        ({"tasks": [{"name": "sort", "wight": 2}]}, "tasks.0.wight: unknown key; did you mean 'weight'?"),
        ({"zzz": 1}, "zzz: unknown key; known keys: checkpoint, "),
        ({"strategy": {"type": "brorl", "kep": 1}}, "strategy.kep: unknown key; did you mean 'keep'?"),
        ({"sampler": {"relief": 0.5}}, "sampler.relief: this key is now called 'retry_unsolved'"),
        ({"strategy": {"keep_silent": True}}, "this key is now called 'keep_zero_advantage'"),
        (
            {"policy": {"type": "diffusion", "forward": {"foreign_share": 0.2}}},
            "this key is now called 'external_share'",
        ),
        ({"strategy": {"type": "april", "over": 2}}, "strategy.over: this key is now called 'oversample'"),
        (
            {"strategy": {"type": "april", "inner": {"type": "dars", "max_rolouts": 9}}},
            "strategy.inner.max_rolouts: unknown key; did you mean 'max_rollouts'?",
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


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(SORT | {"rounds": 0, "sed": 1})
    assert len(str(caught.value).splitlines()) == 2


def test_missing_file_lists_presets() -> None:
    with pytest.raises(ConfigError, match="tiny"):
        load_config("no-such-preset")


def test_broken_toml_and_bad_override(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("rounds = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(broken)
    with pytest.raises(ConfigError, match="takes key=value"):
        load_config("tiny", ["rounds"])
    with pytest.raises(ConfigError, match="rounds is a value"):
        load_config("tiny", ["rounds=3", "rounds.x=1"])


@pytest.mark.parametrize("preset", sorted(path.stem for folder in PRESETS for path in folder.glob("*.toml")))
def test_presets_are_valid_short_and_survive_the_run_folder(preset: str, tmp_path: Path) -> None:
    config = load_config(preset)
    kept = tmp_path / "config.json"
    kept.write_text(resolved_json(config))
    assert read_resolved(kept) == config
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
