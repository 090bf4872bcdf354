"""The default install needs no compiler: wheels for all but three packages of pure Python, on every Python we name.

pip is asked as on a stranger's machine: none of this one's indexes, constraints or wheel folders.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
SOURCE_ONLY = (
    "prefetch_generator",
    "python-baseconv",
    "varint",
)  # of hivemind's; their authors publish no wheels
# What pip says when it never got as far as an answer.
NO_INDEX = re.compile(
    r"connection broken|Could not fetch URL|Failed to establish|Name or service|ProxyError|timed out"
)
PATIENCE = 500.0  # seconds for an index far away


@dataclass(frozen=True)
class StrangersPip:
    """The newest pip in a virtual environment of its own, and wheels that it built without a compiler."""

    python: Path
    wheels: Path

    def command(self, *words: str) -> list[str]:
        return [str(self.python), "-m", "pip", *words]

    def run(self, *words: str) -> str:
        """What it says. Skips the test where no index can be reached, fails it where pip fails."""
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            env=stranger(),
            timeout=PATIENCE,
            check=False,
        )
        return judged(done.returncode, done.stdout + done.stderr)


def judged(code: int, output: str) -> str:
    if code and NO_INDEX.search(output):
        pytest.skip(f"no package index can be reached: {output.strip().splitlines()[-1][:200]}")
    assert code == 0, output[-3000:]
    return output


def stranger() -> dict[str, str]:
    """The environment without settings for pip and without a compiler; a proxy and its certificate stay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    asked = [sys.executable, "-m", "pip", "config", "get", "global.cert"]
    cert = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    trusted = os.environ.get("PIP_CERT") or cert
    kept |= {"PIP_CONFIG_FILE": os.devnull, "CC": "/bin/false", "CXX": "/bin/false"}
    return kept | ({"PIP_CERT": trusted} if trusted else {})


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> StrangersPip:
    """The newest one reads what a wheel needs without downloading the whole of it."""
    folder = tmp_path_factory.mktemp("pip")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    found = StrangersPip(folder / "venv" / "bin" / "python", folder / "wheels")
    found.run("install", "--upgrade", "pip")
    found.run("wheel", "--no-deps", "--wheel-dir", str(found.wheels), *SOURCE_ONLY)
    return found


@pytest.fixture(scope="module")
def dry_runs(pip: StrangersPip) -> dict[str, subprocess.Popen[str]]:
    """One for each Python, side by side: nearly all of it is waiting for the index."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    options = ["--dry-run", "--ignore-installed", "--use-feature", "fast-deps", "--only-binary", ":all:"]
    options += ["--find-links", str(pip.wheels), "--target", str(pip.wheels / "nothing-is-installed")]
    # Markers are read for the Python that runs this; wheels are chosen for the one named.
    return {
        python: subprocess.Popen(
            pip.command("install", *options, "--python-version", python, *wanted),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=stranger(),
        )
        for python in PYTHONS
    }


@pytest.mark.timeout(2 * PATIENCE)
def test_what_has_no_wheel_is_pure_python_and_builds_without_a_compiler(pip: StrangersPip) -> None:
    built = sorted(path.name for path in pip.wheels.glob("*.whl"))
    assert len(built) == len(SOURCE_ONLY) and all(name.endswith("-none-any.whl") for name in built)


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("python", PYTHONS)
def test_all_else_of_the_default_install_is_wheels_beside_which_libp2p_can_be_installed(
    python: str, dry_runs: dict[str, subprocess.Popen[str]]
) -> None:
    output, _ = dry_runs[python].communicate(timeout=PATIENCE)
    (chosen,) = re.findall(r"^Would install (.*)$", judged(dry_runs[python].returncode, output), re.MULTILINE)
    names = {re.sub(r"-[^-]+$", "", word).lower() for word in chosen.split()}
    assert {"torch", "hivemind", "trl"} <= names and not names & {"libp2p", "fastecdsa"}
    # `make demo` adds libp2p, which takes no protobuf from 7 on: whatever is installed next would put that back.
    assert [word for word in chosen.split() if re.match(r"protobuf-[0-6]\.", word)], chosen
