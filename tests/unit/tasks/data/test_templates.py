"""Templates: names of columns and nothing else."""

from __future__ import annotations

import pytest

from policies.tasks.data.row import DataError, Row
from policies.tasks.data.template import Template

ROW = Row("line 3", {"a": "1", "b c": "{a}", "empty": None})


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{a} + {a}", "1 + 1"),
        ("{b c}", "{a}"),  # what a row says is text and no template
        (r"\boxed{{{a}}}", r"\boxed{1}"),
        ("{{a}}", "{a}"),
        ("plain", "plain"),
        ("{empty}!", None),
    ],
)
def test_columns_are_put_in(text: str, rendered: str | None) -> None:
    assert Template.parse(text, "prompt").render(ROW, "prompt") == rendered


@pytest.mark.parametrize(
    "text", ["{a.b}", "{a[0]}", "{a:10000000}", "{a!r}", "{a.__class__.__mro__}", "{0}", "{A}", "{ a }"]
)
def test_anything_but_a_column_is_refused_with_those_there_are(text: str) -> None:
    template = Template.parse(text, "prompt")
    with pytest.raises(DataError, match=r"there is no column .*there are a, b c, empty$"):
        template.refuse_unknown(ROW.columns, "prompt")


@pytest.mark.parametrize("text", ["{}", "{", "}", "a { b", r"\boxed{}", "{{a}", "{a{b}}"])
def test_a_brace_that_is_no_column_s_says_how_to_write_one(text: str) -> None:
    with pytest.raises(DataError, match=r"names no column; write \{\{ and \}\}|there is no column"):
        Template.parse(text, "answer").refuse_unknown(ROW.columns, "answer")


def test_a_name_that_is_nearly_a_column_s_is_told_it_and_no_name_reaches_a_terminal_raw() -> None:
    known = {"Question", "back words", "\x1b[2Jx"}
    for text, meant in (
        ("{question}", "Question"),
        ("{ Question }", "Question"),
        ("{backword}", "back words"),
    ):
        with pytest.raises(
            DataError, match=f"did you mean '{meant}'\\?; there are .u001b.2Jx, Question, back words"
        ):
            Template.parse(text, "prompt").refuse_unknown(known, "prompt")


@pytest.mark.parametrize("text", ["\x1b[2J{a}", "{a}\ud800", "\x00", "\x9b"])
def test_a_template_holds_no_control_characters(text: str) -> None:
    with pytest.raises(DataError, match=r"prompt: its template holds the control character U\+"):
        Template.parse(text, "prompt")


def test_lengths_are_bounded() -> None:
    with pytest.raises(DataError, match="a template of 10001 characters"):
        Template.parse("x" * 10_001, "prompt")
    row = Row("line 9", {"a": "x" * 90_000})
    with pytest.raises(DataError, match="line 9: prompt has 180000 characters; at most 100000"):
        Template.parse("{a}{a}", "prompt").render(row, "prompt")
