"""The murmur command as this user calls it, so that a printed hint can be copied and run."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from node.ui.terminal.window import kept_whole


def murmur(*words: object) -> str:
    """A command line for a hint: `murmur("peers", invite)` gives `.venv/bin/murmur peers murmur2:...`."""
    return kept_whole(" ".join([_called_as(), *(shlex.quote(str(word)) for word in words)]))


def at_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _called_as() -> str:
    """`murmur` where the shell would find this one, otherwise the path that it was called by."""
    called = Path(sys.argv[0])
    script = called if called.name == "murmur" else Path(sys.executable).with_name("murmur")
    if not script.is_file():
        return f"{_shown(Path(sys.executable))} -m node"
    found = shutil.which("murmur")
    if found is not None and Path(found).resolve() == script.resolve():
        return "murmur"
    return _shown(script)


def _shown(path: Path) -> str:
    """From the working directory where it lies below it; as it is otherwise."""
    whole = Path.cwd() / path
    text = str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)
    return shlex.quote(text)
