"""What the make targets say on the way, what they need, and how they go on after a break."""

from __future__ import annotations

import ast
import importlib.util
import io
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
STUB = """#!/bin/sh
# Stands in for the environment's Python: notes what pip is asked for.
case "$*" in
  *"pip install"*) echo "$*" >> {calls}; case "$*" in *{fails}*) echo "error: no gcc"; exit 1;; esac;;
esac
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, at work on a project in `tmp_path`."""
    spec = importlib.util.spec_from_file_location("install_script", ROOT / "scripts" / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    return module


def stub(script: ModuleType, fails: str) -> Path:
    """An environment whose pip fails on what `fails` names. Returns the file of what pip was asked for."""
    packages = script.VENV / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True, exist_ok=True)
    python = Path(script.python())
    python.parent.mkdir(exist_ok=True)
    calls = script.VENV / "calls"
    python.write_text(STUB.format(calls=calls, fails=fails))
    python.chmod(0o755)
    return calls


def test_a_python_that_is_too_old_is_told_what_will_do(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert script.main("run") == 3 and not script.VENV.exists()
    told = capsys.readouterr().err
    assert (
        "needs Python 3.11, 3.12 or 3.13" in told and "is Python 3.10" in told and "PYTHON=python3." in told
    )


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_a_python_without_virtual_environments_is_told_what_to_install(
    script: ModuleType, module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert script.main("dev") == 3
    told = capsys.readouterr().err
    assert module in told and f"apt-get install python3.{sys.version_info.minor}-venv" in told


def test_old_pythons_can_read_the_script() -> None:
    """It says nothing else to a Python that cannot."""
    text = (ROOT / "scripts" / "install.py").read_text()
    ast.parse(text, feature_version=(3, 7))


def test_each_step_is_told_and_the_observer_comes_last(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stub(script, fails="nothing")
    assert script.main("dev") == 0
    told = capsys.readouterr().out
    assert [f"step {n} of 3" in told for n in (1, 2, 3)] == [True] * 3 and "GB" in told and "done" in told
    first, last = calls.read_text().splitlines()
    assert first.endswith("--editable .[envs,gguf,diffusion,dev]") and last.endswith("libp2p>=0.8,<0.9")
    assert not script.begun().exists()


def test_an_observer_that_cannot_be_had_is_told_and_ends_nothing(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(script, fails="libp2p")
    assert script.main("run") == 0
    told = capsys.readouterr().out
    assert "LAN discovery stay off" in told and f"{script.python()} -m pip install -e '.[observer]'" in told


def test_a_failure_shows_the_reason_and_the_next_call_goes_on(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(script, fails="--editable")
    assert script.main("run") == 1
    told = capsys.readouterr().err
    assert "error: no gcc" in told and "goes on from here" in told and str(script.log()) in told
    stub(script, fails="nothing")
    assert script.main("run") == 0
    assert "the last install broke off" in capsys.readouterr().out


def test_packages_that_are_half_there_are_installed_again(script: ModuleType) -> None:
    stub(script, fails="nothing")
    packages = script.VENV / "lib" / "python3.11" / "site-packages"
    for name, marks in {"whole-1": ("INSTALLER", "RECORD"), "unpacked-1": ("RECORD",), "begun-1": ()}.items():
        (packages / f"{name}.dist-info").mkdir()
        for mark in marks:
            (packages / f"{name}.dist-info" / mark).touch()
    (packages / "~orch").mkdir()
    assert script.main("run") == 0
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def test_an_environment_that_does_not_start_is_made_anew(script: ModuleType) -> None:
    python = Path(script.python())
    python.parent.mkdir(parents=True)
    python.symlink_to("/nowhere/python3")
    script.make_venv()
    done = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "  Downloading torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl (526.6 MB)",
            "fetching torch, 526.6 MB",
        ),
        ("  Downloading big-1.whl (1.2 GB)", "fetching big, 1.2 GB"),
        ("  Downloading base58-2.1.1-py3-none-any.whl (5.6 kB)", ""),
        ("Installing collected packages: a, b, c", "unpacking 3 packages"),
        ("  Building wheel for fastecdsa (pyproject.toml): started", "building fastecdsa"),
        ("  Building wheel for fastecdsa (pyproject.toml): finished with status 'done'", ""),
        ("Requirement already satisfied: numpy>=2", ""),
    ],
)
def test_of_pips_lines_those_that_take_long_are_passed_on(script: ModuleType, line: str, told: str) -> None:
    assert script.progress(line) == told


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("Collecting numpy>=2 (from murmuration)", "choosing and fetching packages, now numpy"),
        (
            "  Downloading base58-2.1.1-py3-none-any.whl (5.6 kB)",
            "choosing and fetching packages, now base58",
        ),
        ("Installing collected packages: a, b", "unpacking 2 packages"),
        ("Requirement already satisfied: numpy>=2", ""),
    ],
)
def test_a_sign_of_life_says_what_pip_is_at(script: ModuleType, line: str, now: str) -> None:
    assert script.doing(line) == now


def test_no_sign_of_life_comes_after_its_step(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor while the size of .venv is looked up, which takes long."""
    looked = threading.Event()

    def slow_look() -> int:
        looked.set()
        time.sleep(0.2)
        return 3

    monkeypatch.setattr(script, "BEAT", 0.01)
    monkeypatch.setattr(script, "megabytes", slow_look)
    with script.signs_of_life(["unpacking 80 packages"]):
        assert looked.wait(10)
    script.say("step 3 of 3")
    time.sleep(0.3)
    assert capsys.readouterr().out == "install: step 3 of 3\n"


def test_lines_break_between_words_in_a_window(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    window = io.StringIO()
    monkeypatch.setattr(window, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", window)
    monkeypatch.setenv("COLUMNS", "40")
    script.say("step 2 of 3: packages to run, about 1.5 GB with a CPU build of torch")
    assert window.getvalue().splitlines() == [
        "install: step 2 of 3: packages to run,",
        "about 1.5 GB with a CPU build of torch",
    ]
