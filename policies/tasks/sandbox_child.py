"""The sandbox's process: runs one reasoning-gym scorer. A script: `policies.tasks.sandbox` starts it.

Reads one JSON object {dataset, params, seed, completion} from standard input and writes the score to standard
output. Imports nothing of ours: under `python -I` only the installed packages are on the path.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

import reasoning_gym

CPU_SECONDS = 20  # over the parent's deadline; ends a child whose parent died
MEMORY_BYTES = 2 * 2**30  # address space; torch is not loaded, sympy and the fonts take under 1 GiB
NOBODY = 65534


def renounce() -> None:
    """Gives up for good what scoring does not need: files, sockets, children, privileges."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for limit, bound in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),  # the three standard streams: nothing can be opened or connected
    ):
        resource.setrlimit(limit, (bound, bound))


def main() -> None:
    request: dict[str, Any] = json.load(sys.stdin)
    dataset = reasoning_gym.create_dataset(
        request["dataset"], seed=request["seed"], size=1, **request["params"]
    )
    entry = dataset[0]
    # Loads what the scorer imports on first use, before files are out of reach.
    if entry["answer"] is not None:
        dataset.score_answer(entry["answer"], entry)
    renounce()
    sys.stdout.write(json.dumps(float(dataset.score_answer(request["completion"], entry))))


if __name__ == "__main__":
    main()
