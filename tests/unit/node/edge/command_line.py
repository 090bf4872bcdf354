"""The murmur command within the test's process: what it says and the exit code, as its user meets them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from node import cli
from node.ui import interrupts


@dataclass(frozen=True)
class Told:
    code: int
    out: str
    err: str


def murmur(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Told:
    """Runs `murmur ARGUMENTS` through the same edge as the installed command; signals stay pytest's."""
    monkeypatch.setattr(sys, "argv", ["murmur", *arguments])
    monkeypatch.setattr(interrupts, "handle", lambda handler: None)
    monkeypatch.setattr(interrupts, "_advice", [])
    monkeypatch.setattr(interrupts, "_last_acts", [])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    told = capsys.readouterr()
    return Told(code, told.out, told.err)
