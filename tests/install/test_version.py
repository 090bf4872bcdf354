"""The version in a clone with and without tags, in archives, in built packages, installed or not."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from swarm.limits import MAX_VERSION
from swarm.version import NEXT, find_version

ROOT = Path(__file__).parents[2]
TREE = ("pyproject.toml", ".gitattributes", "README.md", "LICENSE", "swarm/version.py", "swarm/__init__.py")
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def git(tree: Path, *words: str) -> str:
    names = [
        "-c",
        "user.name=n",
        "-c",
        "user.email=e@example.org",
        "-c",
        "tag.gpgsign=false",
        "-C",
        str(tree),
    ]
    return subprocess.run(
        ["git", *names, *words], check=True, capture_output=True, text=True, env=QUIET
    ).stdout.strip()


def commit(tree: Path) -> str:
    """Its short name."""
    git(tree, "commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", "a change")
    return git(tree, "rev-parse", "--short", "HEAD")


def asked(tree: Path, **environment: str) -> str:
    """By a process of the tree itself, as the build does: nothing of the installed package in its way."""
    script = "import runpy, sys; print(runpy.run_path('swarm/version.py')['find_version']())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tree,
        check=True,
        capture_output=True,
        text=True,
        env=QUIET | environment,
    )
    return done.stdout.strip()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """The source tree as files alone."""
    tree = tmp_path / "plain"
    for name in TREE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture
def clone(plain: Path) -> Path:
    """The same with one commit and no tag."""
    git(plain, "init", "-q")
    git(plain, "add", "-A")
    commit(plain)
    return plain


def test_without_git_it_is_that_of_no_commit(plain: Path) -> None:
    assert asked(plain) == f"{NEXT}.dev0"


def test_a_clone_without_tags_counts_its_commits(clone: Path) -> None:
    last = commit(clone)
    assert asked(clone) == f"{NEXT}.dev2+g{last}"


def test_a_tag_is_the_version_and_the_commits_after_it_lead_to_the_next(clone: Path) -> None:
    git(clone, "tag", "nightly")
    git(clone, "tag", "-a", "v1.2.9", "-m", "release")
    assert asked(clone) == "1.2.9"
    commit(clone)
    last = commit(clone)
    assert asked(clone) == f"1.2.10.dev2+g{last}"
    assert Version("1.2.9") < Version(asked(clone)) < Version("1.2.10")


def test_a_release_candidate_is_one(clone: Path) -> None:
    git(clone, "tag", "v2.0rc1")
    assert asked(clone) == "2.0rc1"
    last = commit(clone)
    assert asked(clone) == f"2.0rc2.dev1+g{last}"


@pytest.mark.parametrize("tag", ["", "v3.1.0"])
def test_an_archive_without_git_knows_its_commit(clone: Path, tmp_path: Path, tag: str) -> None:
    last = git(clone, "rev-parse", "--short", "HEAD")
    if tag:
        git(clone, "tag", tag)
    git(clone, "archive", "-o", str(tmp_path / "tree.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "tree.tar", tmp_path / "unpacked")
    assert asked(tmp_path / "unpacked") == (tag.removeprefix("v") or f"{NEXT}.dev0+g{last}")


def test_a_repository_around_an_unpacked_tree_is_not_its_own(plain: Path) -> None:
    git(plain.parent, "init", "-q")
    commit(plain.parent)
    git(plain.parent, "tag", "v9.9.9")
    assert asked(plain) == f"{NEXT}.dev0"


def test_a_hook_of_another_repository_does_not_mislead(clone: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit(other)
    git(other, "tag", "v9.9.9")
    assert asked(clone, GIT_DIR=str(other / ".git")).startswith(f"{NEXT}.dev1+g")


@pytest.mark.parametrize("damage", ["no git command", "no commit", "no repository behind .git"])
def test_a_git_that_does_not_answer_is_no_failure(clone: Path, tmp_path: Path, damage: str) -> None:
    if damage != "no git command":
        shutil.rmtree(clone / ".git")
    if damage == "no commit":
        git(clone, "init", "-q")
    elif damage == "no repository behind .git":
        (clone / ".git").write_text("gitdir: /nowhere\n")
    path = {"PATH": str(tmp_path)} if damage == "no git command" else {}
    assert asked(clone, **path) == f"{NEXT}.dev0"


def test_the_build_writes_it_into_the_packages_and_they_keep_it(clone: Path, tmp_path: Path) -> None:
    pytest.importorskip(
        "hatchling", reason="the build backend is not installed: pip builds with one of its own"
    )
    git(clone, "tag", "v4.5.6")
    for kind in ("sdist", "wheel"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path / "dist")]
        (clone / "configs").mkdir(exist_ok=True)
        subprocess.run(command, cwd=clone, check=True, capture_output=True, env=QUIET)
    assert (tmp_path / "dist" / "murmuration-4.5.6-py3-none-any.whl").is_file()
    shutil.unpack_archive(tmp_path / "dist" / "murmuration-4.5.6.tar.gz", tmp_path)
    assert asked(tmp_path / "murmuration-4.5.6") == "4.5.6"


def test_a_package_without_a_source_tree_says_what_its_metadata_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "murmuration-7.8.9.dist-info").mkdir()
    (tmp_path / "murmuration-7.8.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: murmuration\nVersion: 7.8.9\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert find_version(tmp_path) == "7.8.9"


def test_the_command_says_it_from_a_tree_that_is_not_installed() -> None:
    command = [sys.executable, "-m", "node", "--version"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=QUIET).stdout
    assert said == f"murmur {find_version()}\n"
    assert len(find_version()) <= MAX_VERSION and Version(find_version()) >= Version(f"{NEXT}.dev0")
