"""Errors of libraries and of the system in words of one line, for messages that say themselves what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

OUTPUT = "standard output"  # in the place of a file's name
LONGEST = 300  # letters: torch names every tensor that does not fit

# How libraries tell a lack of memory, mostly in errors of no kind of its own.
SHORTAGE = (
    "can't allocate memory",
    "annot allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
)


def says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    return any(phrase in str(error) for phrase in phrases)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from or amid, to the first of all."""
    met: set[int] = set()
    while error is not None and id(error) not in met:
        met.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


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
