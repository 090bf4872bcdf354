"""Equal seeds give equal runs of `murmur bench sapo`, in processes that share nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.bench.kit.identities import keep_seeded_key
from swarm.wire.identity import Identity

PROGRAM = Path(__file__).with_name("sapo_process.py")
OPTIONS = ("--nodes", "3", "--rounds", "8", "--case", "4/4", "--seeds", "1")


def start(folder: Path, hash_seed: str) -> subprocess.Popen[str]:
    folder.mkdir()
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    command = [sys.executable, str(PROGRAM), str(folder), *OPTIONS]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def played(folder: Path) -> tuple[list[str], dict[str, object]]:
    """Digests of all judged weights, and every cell without its seconds."""
    cells = {file.name: json.loads(file.read_text()) for file in sorted((folder / "cells").glob("*.json"))}
    for kept in cells.values():
        for node in kept["nodes"]:
            del node["cpu"]
    return (folder / "weights").read_text().split(), cells


@pytest.mark.timeout(400)
def test_two_processes_with_one_seed_agree_bit_by_bit(tmp_path: Path) -> None:
    processes = [start(tmp_path / name, name) for name in ("1", "2")]
    for process in processes:
        _, words = process.communicate()
        assert process.returncode == 0, words
    one, other = (played(tmp_path / name) for name in ("1", "2"))
    weights, cells = one
    assert sorted(cells) == ["4-4-0.json", "8-0-0.json", "start-0.json"]
    shared = cells["4-4-0.json"]["nodes"]  # type: ignore[index]
    assert all(len(node["rewards"]) == 8 and node["external"] > 8 for node in shared)
    assert len(weights) == 9 and len(set(weights)) > 6  # they were trained
    assert one == other


def test_keys_follow_the_seed_and_what_they_are_for(tmp_path: Path) -> None:
    names = [
        keep_seeded_key(tmp_path / f"{place}.key", seed, purpose)
        for place, (seed, purpose) in enumerate([(1, "a"), (1, "a"), (2, "a"), (1, "b")])
    ]
    assert names[0] == names[1] and len(set(names)) == 3
    assert Identity.load_or_create(tmp_path / "2.key").peer_id == names[2]


@pytest.mark.parametrize("seed", [0, 1])
def test_nodes_of_one_population_have_names_of_their_own(tmp_path: Path, seed: int) -> None:
    from node.bench.sapo.arms import SPLITS, arms_of
    from node.bench.sapo.population import PopulationPlan, config_of

    seeds = [
        config_of(arms_of(SPLITS)[0], seed, PopulationPlan(8, 1, "embedded"), n).run_seed for n in range(8)
    ]
    names = {keep_seeded_key(tmp_path / f"{n}.key", own, "sapo") for n, own in enumerate(seeds)}
    assert len(names) == 8
