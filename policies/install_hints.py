"""The commands that bring a missing package: one form, for this very interpreter and this very installation."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "murmuration"
ROOT = Path(__file__).resolve().parents[1]


class PackageMissing(ValueError):
    """Something that needs a package that is not installed here; the message says how to get it."""


def install_extras(*extras: str) -> str:
    """The command that adds extras of pyproject.toml. It works in any folder: a checkout is named by its path."""
    return install_packages(*_with(extras))


def install_all(extras: Sequence[str] = (), packages: Sequence[str] = (), bare: Sequence[str] = ()) -> str:
    """One line that brings extras, other packages, and those of `bare` without what they depend on."""
    own = [*(_with(extras) if extras else ()), *packages]
    commands = [install_packages(*own)] if own else []
    return " && ".join([*commands, *([install_packages("--no-deps", *bare)] if bare else [])])


def _with(extras: Sequence[str]) -> list[str]:
    wanted = f"[{','.join(extras)}]"
    if not in_checkout():
        return [f"{NAME}{wanted}"]
    here = "." if Path.cwd() == ROOT else str(ROOT)
    return ["-e", f"{here}{wanted}"]


def install_anew() -> str:
    """The command that puts back whatever of the installation is broken."""
    return install_packages("--force-reinstall", *(["-e", str(ROOT)] if in_checkout() else [NAME]))


def upgrade() -> str:
    """The command that brings a newer release."""
    if not in_checkout():
        return install_packages("--upgrade", NAME)
    return f"git -C {shlex.quote(str(ROOT))} pull && {install_packages('-e', str(ROOT))}"


def install_packages(*words: str) -> str:
    """The command that installs other packages into the environment that murmur runs in."""
    return " ".join([shlex.quote(sys.executable), "-m pip install", *(shlex.quote(word) for word in words)])


def in_checkout() -> bool:
    """Whether murmur's own pyproject.toml lies beside its packages; in site-packages may lie one of anybody's."""
    try:
        return f'\nname = "{NAME}"\n' in (ROOT / "pyproject.toml").read_text()
    except (OSError, UnicodeDecodeError):
        return False
