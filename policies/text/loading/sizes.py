"""Sizes that a configuration names, before any library acts on them: a billion layers would be built one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from policies.policy import PolicyError

# Far beyond every model that is published: the deepest have some 130 layers, one has 16,384 experts.
MOST_PARTS = 1_000  # layers or blocks
MOST_EXPERTS = 20_000
MOST = 2**31 - 1  # of any other number, and what a token id may be
PARTS = ("layer", "layers", "block", "blocks", "depth", "depths")
NO_COUNT = ("size", "dim", "id", "ids", "index", "freq", "theta", "step", "window")


def check_sizes(path: str, **where: Any) -> None:
    """Raises PolicyError for sizes that no model has; OSError where the configuration cannot be had.

    `path`: a folder or a hub id; `where`: what the library takes beside it to find the configuration, as gguf_file.
    """
    config, _ = PreTrainedConfig.get_config_dict(path, **where)
    for name, value in _whole_numbers(config):
        if abs(value) > (most := _most(name)):
            raise PolicyError(
                f"cannot load {path}: its config.json asks for {name} = {value}, and at most {most} is taken: it is "
                "damaged, or made to do harm. Take it from the model's publisher again"
            )


def _whole_numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Each with the name that it stands under, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _whole_numbers(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _whole_numbers(inner, name)
    elif isinstance(value, int):
        yield name, value


def _most(name: str) -> int:
    words = name.lower().split("_")
    if any(word in NO_COUNT for word in words):
        return MOST
    if "experts" in words:
        return MOST_EXPERTS
    return MOST_PARTS if any(word in PARTS for word in words) else MOST
