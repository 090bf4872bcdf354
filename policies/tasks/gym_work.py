"""reasoning-gym's problems as a kind of work. A worker process runs this file (see `gym_process`).

It greets with the names of every dataset's parameters. For {dataset, params, drawn}, of which the last is a seed:
{"problem": [question, answer]} or {"refused": why}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import reasoning_gym

MEMORY_BYTES = 2 * 2**30  # torch is not loaded, sympy and the fonts take under 1 GiB
MAX_CHARACTERS = 200_000  # of question and answer
# What a hundred datasets raise on parameters that they cannot serve.
LIBRARY_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


# Datasets that read a file as they are made, in 20 and 130 ms, and look at their seed only as a problem is drawn.
READ_ONCE = frozenset({"figlet_font", "spell_backward"})


def greet(arguments: Sequence[str]) -> dict[str, Any]:
    """The parameters of every dataset."""
    datasets = reasoning_gym.factory.DATASETS.items()
    return {name: [field.name for field in fields(config)] for name, (_, config) in datasets}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The problem of a dataset's seed, or what the library says against its parameters."""
    try:
        entry = _dataset(question["dataset"], question["drawn"], question["params"])[0]
        asked, right = entry["question"], str(entry["answer"])
    except MemoryError:
        return {"refused": f"more than {MEMORY_BYTES // 2**30} GiB of memory would be taken"}
    except LIBRARY_ERRORS as error:
        return {"refused": str(error) or type(error).__name__}
    if (characters := len(asked) + len(right)) > MAX_CHARACTERS:
        return {"refused": f"a problem of {characters} characters, of which no policy reads {MAX_CHARACTERS}"}
    return {"problem": [asked, right]}


def _dataset(name: str, seed: int, params: dict[str, Any]) -> Any:
    if name not in READ_ONCE:
        return reasoning_gym.create_dataset(name, seed=seed, size=1, **params)
    dataset = _read_once(name, json.dumps(params, sort_keys=True))
    dataset.seed = dataset.config.seed = seed
    return dataset


@lru_cache(maxsize=8)
def _read_once(name: str, params: str) -> Any:
    return reasoning_gym.create_dataset(name, seed=0, size=1, **json.loads(params))
