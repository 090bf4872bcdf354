"""Python as somebody runs it who has the libraries and none of our code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def fresh(script: str, *arguments: str, cwd: Path, timeout: float = 150) -> str:
    """Runs Python in an interpreter that cannot see our tree, and gives what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def usage_in(folder: Path) -> str:
    """The Python on the card of an exported folder."""
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    assert found is not None, "the card has no Python"
    return found[1]
