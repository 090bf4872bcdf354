"""One start in a process of its own, which tells what processor time it took and which libraries it loaded.

`python -m node.bench.start.child FILE imports|policy|verb ARGUMENTS` writes a JSON object to FILE at its end.
"""

from __future__ import annotations

import atexit
import json
import resource
import runpy
import sys
from pathlib import Path

# What takes a second or so to load; told where a verb does.
HEAVY = ("datasets", "diffusers", "hivemind", "numpy", "pandas", "scipy", "torch", "transformers", "trl")


def main() -> None:
    """Does what is asked; what was spent is told however it ends."""
    file, what, *arguments = sys.argv[1:]
    atexit.register(_tell, Path(file))
    if what == "imports":
        _import_libraries()
    elif what == "policy":
        _load_policy(arguments)
    else:
        _run_verb(arguments)


def _import_libraries() -> None:
    """What any program that trains by GRPO with TRL loads first."""
    import torch  # noqa: F401
    from trl import GRPOTrainer  # noqa: F401


def _load_policy(overrides: list[str]) -> None:
    """As `murmur silo smollm2` does before its first round."""
    import node.baseline.silo_baseline  # noqa: F401
    from node.config.reading import load_config
    from node.runtime.build import build_policy

    build_policy(load_config("smollm2", ["seed=0", *overrides]), lambda *_: None)


def _run_verb(arguments: list[str]) -> None:
    sys.argv = ["murmur", *arguments]
    runpy.run_module("node", run_name="__main__")


def _tell(file: Path) -> None:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    told = {
        "cpu": own.ru_utime + own.ru_stime,
        "children_cpu": children.ru_utime + children.ru_stime,
        "peak_mb": own.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3),
        "loaded": [name for name in HEAVY if name in sys.modules],
    }
    file.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
