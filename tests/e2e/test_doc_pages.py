"""Every command that README and docs print is run as printed, or says in the source why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import PAGES, Block, blocks_of, commands_in, play, prepare_folder

pytestmark = [pytest.mark.e2e, pytest.mark.swarm]

PROGRAMS = ("murmur", "make", "pip", "python", "git", ".venv/bin", "source", "pytest")
RUNNABLE = {
    page.stem: [block for block in blocks_of(page) if block.runs and block.possible] for page in PAGES
}
SHORT = [name for name, blocks in RUNNABLE.items() if any(not block.slow for block in blocks)]
SLOW = [name for name, blocks in RUNNABLE.items() if any(block.slow for block in blocks)]
# Even their short commands take one to two minutes together, and all pages are played one after another.
LONG_PAGES = {"export", "own-data", "unattended"}
PARTS = {"slow", "until Ctrl-C", "exit ", "terminal ", "needs "}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG_PAGES)) for page in SHORT]
)
def test_the_short_commands_of_a_page_run_as_printed(page: str, tmp_path: Path) -> None:
    blocks = [block for block in RUNNABLE[page] if not block.slow]
    prepare_folder(tmp_path, blocks)
    play(blocks, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", SLOW)
def test_all_commands_of_a_page_run_as_printed(page: str, tmp_path: Path) -> None:
    prepare_folder(tmp_path, RUNNABLE[page])
    play(RUNNABLE[page], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_commands_says_how_it_is_run(page: Path) -> None:
    for block in blocks_of(page):
        commands = list(commands_in([block]))
        place = f"{block.page}:{block.line}"
        if block.language == "sh":
            assert block.runs or block.mark.startswith("not run: "), f"{place} has no mark"
            unknown = [part for part in block.parts if not any(part.startswith(known) for known in PARTS)]
            assert unknown == [], place
        else:
            assert not [c for c in commands if c.startswith(PROGRAMS)], f"{place} holds commands: mark it sh"


def test_everything_in_the_readme_is_run_but_the_tests_themselves() -> None:
    readme = blocks_of(PAGES[0])
    left_out = list(commands_in([block for block in readme if block.language == "sh" and not block.runs]))
    assert [command for command in left_out if command != "make test"] == []
    assert len(list(commands_in(readme))) > 8


def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        play([Block("page", 1, "run", "sh", "true\nexit 3\ntrue\n")], tmp_path)
    play([Block("page", 1, "run: exit 3", "sh", "exit 3\n")], tmp_path)


def test_terminals_run_at_once_and_servers_are_interrupted(tmp_path: Path) -> None:
    server = (
        "mkfifo pipe\necho up\ntrap 'echo ended > ended; exit 0' INT\n"
        "read line < pipe\necho $line > heard\nsleep 99 & wait\n"
    )
    blocks = [
        Block("page", 1, "run: terminal 1, until Ctrl-C", "sh", server),
        Block(
            "page", 2, "run: terminal 2", "sh", "echo hello > pipe\nuntil test -f heard; do sleep 0.1; done\n"
        ),
    ]
    play(blocks, tmp_path)
    assert (tmp_path / "heard").read_text() == "hello\n" and (tmp_path / "ended").exists()


def test_a_server_that_ends_by_itself_fails_the_page(tmp_path: Path) -> None:
    blocks = [
        Block("page", 1, "run: terminal 1, until Ctrl-C", "sh", "echo up\n"),
        Block("page", 2, "run: terminal 2", "sh", "sleep 1\n"),
    ]
    with pytest.raises(AssertionError, match="exit code 0"):
        play(blocks, tmp_path)
