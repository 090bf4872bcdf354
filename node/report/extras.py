"""The libraries that reports go through, each an extra of its own: what to type where one is missing."""

from __future__ import annotations

from policies.install_hints import install_extras

EXTRAS = frozenset({"metrics", "tensorboard", "wandb", "trackio"})  # of pyproject.toml


def missing(extra: str, cause: ImportError) -> str:
    """A sentence for whoever misses the library: why it cannot be loaded, and the command that brings it."""
    return f"{cause}; install it with: {install_extras(extra)}"
