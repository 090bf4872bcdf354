"""The murmur command as a subprocess, for the end-to-end tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

MURMUR = [sys.executable, "-m", "node"]
ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
# Small rounds: these tests ask whether a node runs, saves and resumes, not how well it learns. The warm start is
# the preset's own, made once and then read from the user's cache.
QUICK = [
    word
    for override in ("threads=1", "evaluation.problems=2", "sampler.local=3")
    for word in ("--set", override)
]


def murmur(
    *arguments: str,
    cwd: Path,
    timeout: float = 150,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Runs `murmur ARGUMENTS` to its end; `environment` comes on top of this process's."""
    return subprocess.run(
        [*prefix, *MURMUR, *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start(
    *arguments: str, cwd: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    """Starts `murmur ARGUMENTS`; the caller ends it."""
    return subprocess.Popen(
        [*MURMUR, *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
