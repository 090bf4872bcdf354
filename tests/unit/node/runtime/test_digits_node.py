"""A node that draws: the same loop, config and checkpoints as for text, on a network that a test can afford."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config.reading import load_config
from node.config.schema import Config, ConfigError, parse_config
from node.runtime.build import build_node
from node.runtime.loop import Node, resume, run
from node.storage.events import EvaluationEvent, History, LifeEvent, RoundEvent
from node.storage.run_folder import RunFolder
from policies.diffusion.settings import PRESETS, TreeSettings
from policies.tasks import digit_scorers
from swarm.transport.silo import SiloTransport

TINY = {"layers": 1, "heads": 2, "head_width": 4, "prompt_width": 8, "start_steps": 2, "batch": 8, "steps": 6}


class Silent:
    def on_round(self, event: RoundEvent) -> None: ...

    def on_evaluation(self, event: EvaluationEvent) -> None: ...

    def on_notice(self, event: LifeEvent) -> None: ...

    def should_stop(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(digit_scorers, "STEPS", 2)


def config(rounds: int = 3, **changes: object) -> Config:
    tree = {
        "seed": 0,
        "rounds": rounds,
        "tasks": [{"name": "digits"}],
        "policy": {"type": "diffusion", "source": TINY, "tree": {"splits": {"0": 2, "2": 2}}},
        "strategy": {"rollouts": 4},
        "sampler": {"local": 2},
        "evaluation": {"problems": 3, "every": 2},
        "checkpoint": {"every": 2},
    }
    return parse_config(tree | changes)


def node_in(folder: Path, chosen: Config) -> Node:
    folder.mkdir(exist_ok=True)
    return build_node(chosen, RunFolder(folder), SiloTransport(), lambda what, done, total: None)


def test_a_silo_plays_rounds_of_images_and_evaluates(tmp_path: Path) -> None:
    node = node_in(tmp_path, config())
    run(node, Silent())
    node.store.close()
    rounds = History(tmp_path / "events.sqlite").rounds()
    assert [(e.round, e.trained_local, e.policy_version, e.published) for e in rounds] == [
        (number, 2, number, 0) for number in (1, 2, 3)
    ]
    assert all(0 < e.reward < 1 and e.grad_norm and e.tokens == 0 for e in rounds)
    evaluations = History(tmp_path / "events.sqlite").evaluations()
    assert [e.round for e in evaluations] == [0, 2, 3]
    assert evaluations[0].reward != evaluations[-1].reward


def test_a_resumed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Both have saved after round 2; round 3 of the one that stopped is that of the one that did not."""

    def learnt(folder: Path) -> list[tuple[int, float, float | None]]:
        return [(e.round, e.reward, e.loss) for e in History(folder / "events.sqlite").rounds()]

    whole = node_in(tmp_path / "whole", config())
    run(whole, Silent())
    half = node_in(tmp_path / "half", config(rounds=2))
    run(half, Silent())
    half.store.close()
    again = node_in(tmp_path / "half", config())
    resume(again)
    assert again.round == 2
    run(again, Silent())
    for node in (whole, again):
        node.store.close()
    assert learnt(tmp_path / "half") == learnt(tmp_path / "whole")


@pytest.mark.parametrize(
    "strategy",
    [
        {"type": "dars", "rollouts": 4, "max_rollouts": 8},
        {"type": "april", "inner": {"type": "grpo", "rollouts": 4}},
    ],
)
def test_other_strategies_drive_it_too(tmp_path: Path, strategy: dict[str, object]) -> None:
    node = node_in(tmp_path, config(rounds=2, strategy=strategy))
    run(node, Silent())
    node.store.close()
    assert [e.round for e in History(tmp_path / "events.sqlite").rounds()] == [1, 2]
    assert node.policy.version > 0


def test_the_tree_is_a_preset_with_changes() -> None:
    preset = load_config("digits")
    assert preset.policy.type == "diffusion" and preset.policy.tree == TreeSettings()
    assert preset.strategy.rollouts == 16
    for name in PRESETS:
        chosen = load_config("digits", [f"policy.tree={name}"]).policy
        assert chosen.type == "diffusion" and chosen.tree == TreeSettings.model_validate(PRESETS[name])
    changed = config(policy={"type": "diffusion", "tree": {"preset": "dancegrpo", "eta": 0.1}}).policy
    assert changed.type == "diffusion"
    assert (changed.tree.eta, changed.tree.splits, changed.tree.balance) == (0.1, {0: 1024}, "edge")
    assert parse_config(config().model_dump()) == config()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tree": "branhc"}, "no preset 'branhc'; there are branch, branchgrpo"),
        ({"tree": {"splitts": {}}}, "did you mean 'policy.tree.splits'"),
        ({"tree": {"splits": {}, "eta": 0.0}}, "learn = 'forward'"),
        ({"tree": {"splits": {-1: 2}}}, "counted from 0"),
        ({"source": {"type": "digits", "layer": 1}}, "did you mean 'policy.source.layers'"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(policy={"type": "diffusion", **change})
