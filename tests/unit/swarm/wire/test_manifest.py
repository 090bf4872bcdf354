"""Manifests: equal rules, equal swarm; rules out of bounds name the part."""

from __future__ import annotations

import math

import pytest

from policies.tasks.task import TaskSpec
from swarm.errors import InviteError
from swarm.wire.manifest import Manifest

TASKS = (TaskSpec("sort"), TaskSpec("rg:chain_sum", {"max_terms": 4, "easy": True, "p": 0.5, "mode": "x"}))


def test_the_swarm_id_is_fixed_by_the_rules_alone() -> None:
    manifest = Manifest("flock", TASKS)
    reordered = TaskSpec("rg:chain_sum", dict(reversed(list(TASKS[1].params.items()))))
    assert Manifest("flock", (TASKS[0], reordered)).swarm_id == manifest.swarm_id
    # A golden value: it changes only together with the protocol version.
    assert Manifest("flock", (TaskSpec("sort"),)).swarm_id == "ae004c2258cf7163adfca638713eda15"
    others = [
        Manifest("flocks", TASKS),
        Manifest("flock", TASKS[:1]),
        Manifest("flock", (TASKS[0], TaskSpec("rg:chain_sum", {**TASKS[1].params, "easy": 1}))),
        Manifest("flock", TASKS, epoch_seconds=61.0),
        Manifest("flock", TASKS, shard_depth=1),
    ]
    assert len({m.swarm_id for m in [manifest, *others]}) == 6
    assert all(len(m.swarm_id) == 32 and set(m.swarm_id) <= set("0123456789abcdef") for m in others)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"name": ""}, None),
        ({"name": "n" * 65}, "name"),
        ({"name": "\x1b[31m"}, "name"),
        ({"tasks": ()}, "tasks"),
        ({"tasks": TASKS * 17}, "tasks"),
        ({"tasks": (TaskSpec("t" * 97),)}, "task name"),
        ({"tasks": (TaskSpec("t", {"x": math.nan}),)}, "task parameter"),
        ({"tasks": (TaskSpec("t", {"x": 2**60}),)}, "task parameter"),
        ({"tasks": (TaskSpec("t", {"x": "y" * 1025}),)}, "task parameter"),
        ({"epoch_seconds": 0.0}, "epoch"),
        ({"epoch_seconds": math.inf}, "epoch"),
        ({"shard_depth": 21}, "shard depth"),
        ({"form": 2}, "its form has another version"),
    ],
)
def test_rules_out_of_bounds_name_the_part(values: dict[str, object], part: str | None) -> None:
    settings = {"name": "flock", "tasks": TASKS} | values
    if part is None:
        Manifest(**settings)  # type: ignore[arg-type]
        return
    with pytest.raises(InviteError, match=part):
        Manifest(**settings)  # type: ignore[arg-type]
