"""The commands of README and docs as their reader types them: which blocks there are, and how a page is played.

A comment in front of a `sh` block says how it is run; the comment is not shown to the reader:

    run                      all its commands, one after the other, each must succeed
    run: slow                the same, in the slow test of its page only
    run: terminal 2          a terminal of its own, at the same time as the terminals right before and after it
    run: until Ctrl-C        it serves: it is interrupted when the others are done
    run: exit 2              its last command ends with this code
    run: needs libp2p        left out where this module, of an extra, is not installed
    not run: REASON          for what needs another machine

Parts are joined by commas. A page is played from top to bottom in one fresh folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from murmur_command import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<script>.*?)^```$", re.M | re.S
)
SOURCES = ("node", "swarm", "policies", "pyproject.toml", "README.md", "LICENSE")
LIMIT_SECONDS = 2400.0  # for one block
FIRST_WORDS_SECONDS = 120.0  # of a terminal, before the next one is opened


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    mark: str  # of the comment in front of it; empty where there is none
    language: str
    script: str

    @property
    def parts(self) -> list[str]:
        how, _, rest = self.mark.partition(":")
        return [part.strip() for part in rest.split(",") if part.strip()] if how == "run" else []

    @property
    def runs(self) -> bool:
        return self.mark == "run" or self.mark.startswith("run:")

    @property
    def possible(self) -> bool:
        needed = [part.removeprefix("needs ") for part in self.parts if part.startswith("needs ")]
        return all(find_spec(module) for module in needed)

    @property
    def slow(self) -> bool:
        return "slow" in self.parts

    @property
    def serves(self) -> bool:
        return "until Ctrl-C" in self.parts

    @property
    def terminal(self) -> int:
        return next((int(part[9:]) for part in self.parts if part.startswith("terminal ")), 0)

    @property
    def code(self) -> int:
        return next((int(part[5:]) for part in self.parts if part.startswith("exit ")), 0)


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block, top to bottom."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page.name, line, match["mark"] or "", match["language"], match["script"]))
    return found


def prepare_folder(folder: Path, blocks: Sequence[Block]) -> None:
    """A checkout as `make demo` leaves it, with a `.venv` of its own that sees what is installed here."""
    installs = any("pip install" in block.script for block in blocks)
    venv.create(folder / ".venv", symlinks=True, with_pip=installs)
    packages = sysconfig.get_path("purelib", vars={"base": str(folder / ".venv")})
    (Path(packages) / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = folder / ".venv" / "bin" / "murmur"
    command.write_text(f"#!{folder}/.venv/bin/python\nfrom node.cli import main\n\nmain()\n")
    command.chmod(0o755)
    for name in ("configs", "tests", "docs"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("Makefile", *SOURCES):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / ".venv" / ".installed-run").touch()  # newer than pyproject.toml: make installs nothing


def play(blocks: Sequence[Block], folder: Path) -> None:
    """Runs the blocks in order, those of one scene at the same time. Raises AssertionError with what was printed."""
    for scene in scenes_of(blocks):
        play_scene(scene, folder)


def scenes_of(blocks: Sequence[Block]) -> list[list[Block]]:
    """Terminals 1, 2, 3 that follow each other make one scene; any other block is a scene of its own."""
    scenes: list[list[Block]] = []
    for block in blocks:
        if block.terminal > 1:
            scenes[-1].append(block)
        else:
            scenes.append([block])
    return scenes


def play_scene(blocks: Sequence[Block], folder: Path) -> None:
    """Opens a terminal for each block, the next one when the last has said something; ends those that serve."""
    terminals: list[Terminal] = []
    try:
        for block in blocks:
            terminals.append(Terminal(block, folder))
            terminals[-1].wait_for_words()
        for terminal in terminals:
            if not terminal.block.serves:
                terminal.expect(terminal.block.code)
        for terminal in terminals:
            if terminal.block.serves:
                assert terminal.process.poll() is None, terminal.report()
                os.killpg(terminal.process.pid, signal.SIGINT)
                terminal.expect(0, 130)
    finally:
        for terminal in terminals:
            terminal.kill()


class Terminal:
    """A shell that plays one block."""

    def __init__(self, block: Block, folder: Path) -> None:
        self.block = block
        self._output = folder / f"terminal-{block.page}-{block.line}.log"
        path = f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"}
        if "pip install" not in block.script:
            environment["PYTHONPATH"] = str(folder)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                ["bash", "-e", "-c", block.script],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_words(self) -> None:
        """Waits for the first line that is no word of patience, as a slow machine makes them: those ask to wait."""
        deadline = time.monotonic() + FIRST_WORDS_SECONDS
        while self.process.poll() is None and not self._has_said_something():
            assert time.monotonic() < deadline, self.report()
            time.sleep(0.1)

    def _has_said_something(self) -> bool:
        lines = self._output.read_text(encoding="utf-8", errors="replace").splitlines()
        return any(line.strip() and not line.startswith("still ") for line in lines)

    def expect(self, *codes: int) -> None:
        try:
            self.process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.report()) from None
        assert self.process.returncode in codes, self.report()

    def report(self) -> str:
        words = self._output.read_text(encoding="utf-8", errors="replace")[-4000:]
        place = f"{self.block.page}:{self.block.line}"
        return f"{place} gave exit code {self.process.poll()}\n{self.block.script}\n{words}"

    def kill(self) -> None:
        """Ends the shell and whatever it left behind."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def commands_in(blocks: Sequence[Block]) -> Iterator[str]:
    """The command lines of blocks, continued lines joined, comments left out."""
    for block in blocks:
        for line in block.script.replace("\\\n", " ").splitlines():
            if command := line.split(" #")[0].strip():
                yield command
