"""Lines for a person: where they end in a window they break between words; commands, to be copied, stay whole."""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from textwrap import wrap
from typing import TextIO

GLUE = "\0"  # in the place of a space at which no line is broken
LEAST_WIDTH = 20  # characters; what says that it is narrower is no window that anybody reads
LONGEST_ITEM = 40  # characters: what stands between two spaces on either side, as `shift@3 0.90`, stays whole
DEEPER = "  "  # before what continues an indented line or one of items, and before a command
INDENTED = r"\s+(?:\S*murmur|\S+ -m node) .*"  # a command that has a line of its own already
TYPED = re.compile(r"\bmurmur [a-z]+(?: --[a-z-]+(?: [A-Z]+)?)*")

_composed: deque[str] = deque(maxlen=32)  # commands of late, which lines may hold


def kept_whole(command: str) -> str:
    """The same; lines that hold it are broken before and behind it."""
    if command not in _composed:
        _composed.append(command)
    return command


def told_width() -> int | None:
    """What the environment says of the window that a pipe ends in."""
    told = os.environ.get("COLUMNS", "")
    return int(told) if re.fullmatch(r"[1-9]\d{1,3}", told) else None


def width_of(stream: TextIO) -> int | None:
    """Characters of a line in the window that a stream ends in; None where it ends in none.

    What standard error is piped to, as a log, has a line a message, whatever the environment says.
    """
    if not stream.isatty():
        return told_width() if stream is sys.stdout else None
    try:
        return told_width() or os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def in_window(text: str, stream: TextIO | None = None, hang: int = 0) -> str:
    """The text as `stream`, standard output by default, shows it; `hang` indents what continues a line."""
    width = width_of(stream or sys.stdout)
    return text if width is None else in_width(text, width, hang)


def in_width(text: str, width: int, hang: int = 0) -> str:
    """The text in lines of at most `width` characters."""
    if width < LEAST_WIDTH:
        return text
    return "\n".join(part for line in text.split("\n") for part in _broken(line, width, " " * hang))


def say_lines(text: str, hang: int = 0) -> None:
    """Lines for a person on standard output, outside a view."""
    sys.stdout.write(f"{in_window(text, hang=hang)}\n")
    sys.stdout.flush()


def say_aside(text: str) -> None:
    """Lines for a person on standard error, beside what a command was asked for."""
    sys.stderr.write(f"{in_window(text, sys.stderr)}\n")
    sys.stderr.flush()


def _broken(line: str, width: int, hang: str) -> list[str]:
    """A command behind a colon gets a line of its own, with the semicolon after it left out."""
    if len(line) <= width or re.fullmatch(rf"{INDENTED}|\s*(?:{_commands()})", line):
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    deeper = hang or (indent + DEEPER if indent or "  " in line.strip() else "")
    told: list[str] = []
    for place, part in enumerate(re.split(rf"(?<=[:>]) ({_commands()})(?:; |$)", line)):
        if place % 2:
            told.append(f"{'' if hang else indent}{DEEPER}{part}")
        elif part.strip():
            before = deeper if told and hang else indent
            told += _wrapped(part.strip(), width, before, deeper)
    return told


def _wrapped(text: str, width: int, first: str, further: str) -> list[str]:
    """Never within a command that was composed, nor within a short item of a list."""
    for command in _longest_first():
        text = text.replace(command, _glued(command))
    text = TYPED.sub(lambda found: found[0].replace(" ", GLUE), text)
    if "  " in text:
        items = re.split(r"(  +)", text)
        text = "".join(_glued(item) if len(item) <= LONGEST_ITEM else item for item in items)
    lines = wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(GLUE, " ") for line in lines]


def _glued(item: str) -> str:
    return item.replace(" ", GLUE) if item.strip() else item


def _longest_first() -> list[str]:
    return sorted(_composed, key=len, reverse=True)


def _commands() -> str:
    """Those that were composed, and what installs."""
    return "|".join([*map(re.escape, _longest_first()), r"(?:\S+ -m pip \w+ |git -C )[^;]+"])
