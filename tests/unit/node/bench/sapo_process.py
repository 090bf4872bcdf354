"""`python sapo_process.py FOLDER`: `murmur bench sapo` with policies that are made in a moment.

Cells are kept in FOLDER/cells. FOLDER/weights holds a line for each policy that was judged: a digest of its weights.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node import cli
from node.bench.kit import trained_node
from node.bench.kit.trained_node import HeldOutScore, judge
from node.bench.sapo import heat, population
from node.bench.sapo.population import PopulationPlan, skills_of
from node.runtime.loop import Node
from policies.tasks.embedded import EmbeddedTask


def newborn(plan: PopulationPlan, number: int) -> Mapping[str, Any]:
    start = {"steps": 1, "batch": 6, "skills": skills_of(number)}
    return {
        "type": "embedded",
        "generation": {"max_new_tokens": 4},
        "trainer": {"learning_rate": 1e-3},
        "warm_start": start,
    }


def main(folder: Path) -> None:
    def judged(node: Node, answers: int, k: int) -> HeldOutScore:
        state = node.policy._model.state_dict()  # type: ignore[attr-defined]
        digest = hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state)))
        with (folder / "weights").open("a") as file:
            file.write(digest.hexdigest() + "\n")
        return judge(node, answers, k)

    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    population._policy = newborn
    heat.judge = judged
    trained_node.JUDGED = 2
    # Whoever guesses gets groups of different rewards: every second completion counts as right.
    EmbeddedTask.score = lambda task, problem, text: float(len(text) % 2)
    sys.argv = ["murmur", "bench", "sapo", "--dir", str(folder / "cells"), *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
