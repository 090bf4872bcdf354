"""`murmur doctor` tells each finding as it is made: the next check may take a minute on a busy machine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from node import doctor
from node.doctor import Finding, show_findings


def test_a_finding_is_printed_before_the_next_check_begins(capsys: pytest.CaptureFixture[str]) -> None:
    def checks() -> Iterator[Finding]:
        yield Finding("python", "ok", "3.11.7")
        assert capsys.readouterr().out == "ok      python    3.11.7\n"
        yield Finding("disk", "failure", "0.1 GiB free here", "free some space")

    assert show_findings(checks(), as_json=False) == 3
    assert capsys.readouterr().out == (
        "failure disk      0.1 GiB free here\n                  -> free some space\n"
    )


def test_checks_are_made_one_by_one_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def broken() -> Finding:
        begun.append("torch")
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "check_torch", broken)
    findings = doctor.examine(None)
    assert next(findings).name == "python" and begun == []
    broke = next(findings)
    assert begun == ["torch"] and broke.state == "failure" and "no such device" in broke.fact


def test_json_is_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_findings(iter([Finding("python", "ok", "3.11.7")]), as_json=True) == 0
    (only,) = json.loads(capsys.readouterr().out)
    assert only == {"name": "python", "state": "ok", "fact": "3.11.7", "fix": ""}
