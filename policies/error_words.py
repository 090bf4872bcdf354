"""Errors of libraries and of the system in words of one line, for messages that say themselves what to do."""

from __future__ import annotations

OUTPUT = "standard output"  # in the place of a file's name
LONGEST = 300  # letters: torch names every tensor that does not fit


def brief(error: object) -> str:
    """What an error says, at most LONGEST letters; of the system's the words and the file, not `[Errno 13]`."""
    said = str(error)
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        said = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return " ".join(said.split())[:LONGEST].rstrip(". ") or type(error).__name__
