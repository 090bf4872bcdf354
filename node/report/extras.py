"""The libraries that reports go through, each an extra of its own: what to type where one is missing."""

from __future__ import annotations

import shlex
import sys

# Extra of pyproject.toml -> its requirement there.
REQUIREMENTS = {
    "metrics": "prometheus-client>=0.24,<1",
    "tensorboard": "tensorboard>=2.20,<3",
    "wandb": "wandb>=0.22,<1",
    "trackio": "trackio>=0.8,<1",
}


def missing(extra: str, cause: ImportError) -> str:
    """A sentence for whoever misses the library: why it cannot be loaded, and the command for this very interpreter."""
    command = f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(REQUIREMENTS[extra])}"
    return f"{cause}; install it with: {command}"
