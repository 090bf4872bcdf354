"""The program's version, from the git tag where there is one; read by the build too, so of the standard library alone.

A source tree says what it is by git, installed or not; a packed one by what was written into it as it was packed
(`git archive` and the source distribution do so); an installed package by its metadata.
"""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

NAME = "murmuration"
NEXT = "0.1.0"  # the release that untagged commits lead to; a tag v1.2.3 counts from its own
ARCHIVED = "$Format:%(describe:tags=true,match=v[0-9]*) %h$"  # git archive writes tag and commit here

_TAG = re.compile(r"v(?P<release>\d+(\.\d+)*((a|b|rc)\d+)?)(-(?P<since>\d+)-g(?P<commit>[0-9a-f]+))?")
_GIT_TIMEOUT = 10.0  # seconds; a slow disk, not a hang
_DESCRIBE = ("describe", "--tags", "--long", "--match", "v[0-9]*", "HEAD")


def find_version(root: Path = Path(__file__).parents[1]) -> str:
    """PEP 440, of the program whose packages lie in `root`. Never raises: without any trace it is that of no commit."""
    if not _is_source(root):
        return _installed() or f"{NEXT}.dev0"
    return _from_git(root) or _from_archive(ARCHIVED) or _from_metadata(root / "PKG-INFO") or f"{NEXT}.dev0"


def _is_source(root: Path) -> bool:
    try:
        return f'name = "{NAME}"' in (root / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _installed() -> str | None:
    try:
        return distribution(NAME).version
    except PackageNotFoundError:
        return None


def _from_git(root: Path) -> str | None:
    """None where `root` is no work tree of its own: a repository around it has other tags."""
    if not (root / ".git").exists():
        return None
    described = _git(root, *_DESCRIBE)
    if described is not None:
        return _of_tag(described)
    count, commit = _git(root, "rev-list", "--count", "HEAD"), _git(root, "rev-parse", "--short", "HEAD")
    return f"{NEXT}.dev{count}+g{commit}" if count and commit else None


def _git(root: Path, *words: str) -> str | None:
    """None where git is missing, refuses or finds nothing. A hook's GIT_DIR would name another repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip()


def _from_archive(text: str) -> str | None:
    """Of `DESCRIBED COMMIT` as git archive writes it; DESCRIBED is empty without a tag."""
    described, _, commit = text.rpartition(" ")
    if not re.fullmatch("[0-9a-f]{7,40}", commit):
        return None
    return _of_tag(described) or f"{NEXT}.dev0+g{commit}"


def _of_tag(described: str) -> str | None:
    """`v0.2.0` and `v0.2.0-0-g1234567` are release 0.2.0; `v0.2.0-3-g1234567` leads to 0.2.1."""
    found = _TAG.fullmatch(described)
    if found is None:
        return None
    release, since, commit = found["release"], found["since"], found["commit"]
    if not since or since == "0":
        return str(release)
    following = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), release)
    return f"{following}.dev{since}+g{commit}"


def _from_metadata(path: Path) -> str | None:
    """Of a source distribution's PKG-INFO."""
    try:
        found = re.search(r"^Version: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return found[1] if found else None
