"""Errors of libraries and of the system in words of one line, for messages that say themselves what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

OUTPUT = "standard output"  # in the place of a file's name
LONGEST = 300  # letters: torch names every tensor that does not fit

SHORTAGE = (
    "can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "std::bad_alloc",
    "out of memory",
)


def tells_shortage(error: BaseException) -> bool:
    """Whether a library says in words that memory is short: torch's allocator for the CPU raises no kind of its own."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORTAGE)


def brief(error: object) -> str:
    """What an error says, at most LONGEST letters; of the system's the words and the file, not `[Errno 13]`."""
    said = str(error)
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        said = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return " ".join(said.split())[:LONGEST].rstrip(". ") or type(error).__name__


def complaint(problem: Mapping[str, Any]) -> str:
    """What one of pydantic's problems says, without the words that pydantic puts before a validator's own."""
    own = problem.get("ctx", {}).get("error")
    return str(own or problem["msg"])


def no_such(kind: str, name: str, known: Iterable[str]) -> str:
    """`no task 'sirt'; did you mean 'sort'? there are ...`, for a name that is none of `known`."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"no {kind} {name!r}; {meant}there are {', '.join(names) or 'none'}"
