"""Questions at a terminal that nobody answers: a signal, or the end of the input, and what is said of it."""

from __future__ import annotations

import signal

import pytest
import typer
from command_line import murmur

from node import starter
from node.ui import interrupts


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "murmur: stopped by Ctrl-C"),
        (interrupts.Stopped(signal.SIGTERM), 143, "murmur: stopped by SIGTERM"),
        (EOFError(), 2, "murmur: the input ended before the question was answered"),
    ],
)
def test_a_question_that_is_not_answered_ends_as_any_command(
    ended: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unanswered(*_: object, **__: object) -> None:
        try:
            raise ended
        except (KeyboardInterrupt, EOFError):
            raise typer.Abort from None

    monkeypatch.setattr(starter, "at_terminal", lambda: True)
    monkeypatch.setattr(starter.typer, "prompt", unanswered)
    told = murmur(monkeypatch, capsys, "init", "there")
    assert (told.code, told.err.partition("\n")[0].startswith(said)) == (code, True), told
    assert "Aborted" not in told.out + told.err
