"""Verifiers by name: what is right, what is wrong, and bounded work on texts that are written to hang them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from policies.tasks.verifiers import regex
from policies.tasks.verifiers.build import KINDS, build_verifier
from policies.tasks.verifiers.verifier import VerifierError

RIGHT = [
    ("exact", "Paris", " Paris\n"),
    ("exact", "the  capital", "<answer>the capital</answer> is what I say"),
    ({"name": "exact", "ignore_case": True}, "PARIS", "paris"),
    ("number", "#### 1,234", "so it is $1234.00."),
    ("number", "18", "<answer>18</answer> of 20"),
    ("number", "1/2", r"\boxed{\frac{1}{2}}"),
    ("number", "0.5", "that is 1/2"),
    ("number", "1000", "1e3"),
    ("number", "-3", "\u22123"),
    ("number", "12000", r"12{,}000"),
    ({"name": "number", "tolerance": 0.01}, "3.14159", "about 3.14"),
    ("number", "7" * 500, "it is " + "7" * 500),
    ("number", "1 1/2", "1.5"),
    ("number", "1.5", r"that is 1\frac{1}{2}"),
    ("number", "-1.5", "\u20131½"),
    ("number", "-1/2", r"\boxed{\frac{-1}{2}}"),
    ("number", r"-\frac12", "-0.5"),
    ("number", "1/4", r"\cfrac{ 1 }{4}"),
    ("number", "-$5", "a loss: -5 dollars"),
    ("number", "-5", r"x = - \$5.00"),
    ("number", "5 m^2", r"\boxed{5\ \text{cm}^{2}}"),
    ("number", "5", "5 m²"),
    ("number", "5", "5 CO_{2}"),
    ("number", "90^\\circ", "90°"),
    ("number", "1500", r"1.5 \times 10^3"),
    ("number", "1500", "1.5·10³ m"),
    ("number", "1e-6", "10^{-6}"),
    ("number", "1000000", "1\u202f000 000".replace(" ", "\u00a0")),
    ("number", "1000000", "1'000'000 or 1_000_000"),
    ("number", "12", "１２"),
    ("number", "3 + 4 = 2^3 - 1 = 7", "7"),
    ("exact", "caf\u00e9", "cafe\u0301"),
    ("exact", "Paris", "\ufeffPa\u00adris\u200b"),
    ("exact", r"\boxed{Paris}", r"It is \boxed{Paris}."),
    ("exact", "<answer>Paris</answer>", "Paris"),
    ("json", '{"a": "caf\u00e9"}', '{"a": "cafe\u0301"}'),
    ({"name": "regex", "pattern": "= (?P<answer>\\w+)"}, "cafe\u0301", "= caf\u00e9"),
    ("format", "unused", "so <answer>x < 5</answer>."),
    ({"name": "format", "form": "last_number"}, "unused", "it is 1.5e3"),
    ({"name": "format", "form": "last_number"}, "unused", "it is -.5"),
    ("choice", "B", "A or C? It is (B)."),
    ("choice", "(b)", "<answer>b</answer>"),
    ("choice", "B", "(B) A dog"),
    ("choice", "B", "The answer is B. A is wrong."),
    ("choice", "A", "**A.** A dog"),
    ("choice", "A", "The answer is A because of it"),
    ("choice", "B", "<answer>b) a dog</answer>"),
    ("choice", "B", "a) is out, so I say B"),
    ("choice", "D", "Ｄ"),
    ("exact", "don't", "don\u2019t"),
    ("exact", "a \u201cb\u201d", 'a "b"'),
    ("number", "1/2, or 0.5", "0.5"),
    ("choice", "D", r"\boxed{\text{D}}"),
    ("json", '{"a": [1, 2.0]}', 'Here: ```json\n{ "a" : [1.0, 2] }\n```'),
    ("json", "[true]", "[1] " * 400 + "[true]"),
    ("json", '{"]": "\\\\\\"["}', 'so {"]": "\\\\\\"["} it is'),
    ("json", "[" * 64 + "]" * 64, "[" * 64 + "]" * 64),
    ({"name": "regex", "pattern": "<answer>.+</answer>"}, "unused", "<answer>\n7\n</answer>"),
    ({"name": "regex", "pattern": r"= (?P<answer>\d+)"}, "12", "3 = 3, so 3*4 = 12"),
]
WRONG = [
    ("exact", "Paris", "It is Paris"),
    ("exact", "a", "b" * 10_000 + " a"),
    ("number", "4", "3/4"),
    ("number", "1", "1e3"),
    ("number", "18", "18 of 20"),
    ("number", "42", "9" + "0" * 4094 + "42"),  # the end of a longer number
    ("number", "1", "1/0"),
    ("number", "1/2", "1 1/2"),
    ("number", "5.5", r"1\frac{1}{2}"),
    ("number", "5/2", "3 and 5/3"),
    ("number", "5 m^2", "3 m^2"),
    ("number", "10", "2^10"),
    ("number", "-5", "$5"),
    ("number", "5", "3\u20136"),
    ("format", "unused", "<answer>5</answer> or so"),
    ("format", "unused", "<answer>5</answer><answer>"),
    ("number", "5", "none"),
    ("choice", "A", "ABCD"),
    ("choice", "A", "A B C D"),
    ("choice", "B", "(B) A dog. (C) A cat"),
    ("choice", "A", "(B) A dog"),
    ("choice", "B", "b or a) both"),
    ("choice", "A", "I'd say B'A"),
    ("json", "[1]", "[true]"),
    ("json", "[1]", "[1, 2]"),
    ("json", "[1]", "[NaN]"),
    ("json", "[1]", "[" * 64 + "[1]" + "]" * 64),
    ("json", '{"a": 1}', "no JSON at all"),
    ({"name": "regex", "pattern": r"= (?P<answer>\d+)"}, "3", "3 = 3, so 3*4 = 12"),
    ({"name": "regex", "pattern": r"x(?P<answer>y)?"}, "y", "x"),
]
HOSTILE = [
    "1" * 100_000,
    "1," * 50_000,
    "1/" * 50_000,
    ".1" * 50_000,
    "1e999999999",
    "1e" * 50_000,
    "[" * 100_000,
    '{"a":' * 20_000,
    "[1," * 20_000,
    '["' * 50_000,
    "[[]" * 30_000,
    '["\\\\' * 30_000,
    "<answer>" * 10_000,
    "\\boxed{" * 10_000,
    "\\frac{1}{" * 10_000,
    "a" * 100_000 + "!",
    "\x00\ud800" * 1000,
    " " * 100_000,
    "-" * 100_000,
    "a" + "\u0301\u0323\u0327" * 300_000,  # marks that composing would put in order, in a minute
    "",
]
EVIL = r"(a+)+$"


@pytest.fixture(autouse=True, scope="module")
def _the_process_ends() -> Any:
    yield
    regex.SEARCHES.close()


@pytest.mark.parametrize(("described", "answer", "completion"), RIGHT)
def test_right_answers_are_right(described: Any, answer: str, completion: str) -> None:
    assert build_verifier(described)[0].score(completion, answer) == 1.0


@pytest.mark.parametrize(("described", "answer", "completion"), WRONG)
def test_wrong_answers_are_wrong(described: Any, answer: str, completion: str) -> None:
    assert build_verifier(described)[0].score(completion, answer) == 0.0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(set(KINDS) - {"regex", "math"}))
def test_no_text_costs_a_verifier_much_or_raises(name: str) -> None:
    verifier, _ = build_verifier(name)
    answer = {"json": "[1]", "choice": "A"}.get(name, "5")
    for text in HOSTILE:
        assert verifier.score(text, answer) in (0.0, 1.0)
        assert verifier.score(text, text) in (0.0, 1.0)


def test_a_pattern_that_would_take_years_has_no_verdict_and_the_next_text_has_one() -> None:
    verifier, _ = build_verifier({"name": "regex", "pattern": EVIL})
    assert verifier.score("a" * 4000 + "!", "") is None
    assert verifier.score("aaa", "") == 1.0
    assert verifier.score("b", "") == 0.0
    assert regex.SEARCHES.spent() > 0


def test_a_killed_process_is_no_verdict_and_then_replaced() -> None:
    verifier, _ = build_verifier({"name": "regex", "pattern": "a"})
    assert verifier.score("a", "") == 1.0
    child = regex.SEARCHES.process.child
    assert child is not None
    child.kill()
    child.wait()
    assert verifier.score("a", "") == 1.0
    assert regex.SEARCHES.process.child is not child


def test_a_sum_weighs_its_parts_and_has_no_verdict_where_a_part_has_none() -> None:
    parts: list[Mapping[str, Any]] = [
        {"name": "number", "weight": 3},
        {"name": "regex", "pattern": "<answer>.*</answer>", "weight": 1},
    ]
    verifier, _ = build_verifier(parts)
    given = [verifier.score(text, "7") for text in ("<answer>7</answer>", "7", "<answer>8</answer>", "8")]
    assert given == [1.0, 0.75, 0.25, 0.0]
    verifier, _ = build_verifier([{"name": "number"}, {"name": "regex", "pattern": EVIL}])
    assert verifier.score("a" * 4000 + " 7", "7") is None


def test_equal_descriptions_are_equal_and_others_are_not() -> None:
    canonical = [
        build_verifier(described)[1]
        for described in (
            "number",
            {"name": "number"},
            {"tolerance": 0.0, "name": "number", "weight": 9},
            {"name": "number", "tolerance": 0.5},
            "exact",
        )
    ]
    assert canonical[0] == canonical[1] == canonical[2]
    assert len(set(canonical)) == 3
    assert json.loads(canonical[0])[0][1:] == [3, {"name": "number", "tolerance": 0.0}]


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ("numbr", "the nearest is 'number'"),
        ("eval", "there are exact, number, choice, regex, json, math, format, and those of packages"),
        ({"tolerance": 1}, "a verifier's table needs name = one of exact, number"),
        ({"verifier": "exact", "weight": 1}, "math, format; it has verifier = 'exact', weight = '1'"),
        ({"name": ["exact"]}, "a verifier's table needs name"),
        ({"name": {}, "package": "x"}, "a verifier's table needs name"),
        (["number"], "a list of tables such as { name = 'number', weight = 1 }"),
        ([1], "verifier takes a name, a table or a list of tables"),
        (5, "verifier takes a name, a table or a list of tables"),
        ({"name": "number", "weight": 10**400}, "above 0, at most 1,000,000; it is '1000"),
        ([{"name": "number", "weight": 1e308}] * 2, "at most 1,000,000"),
        ({"name": "number", "tolerence": 1}, "it takes tolerance, and not 'tolerence'"),
        (
            {"name": "number", "tolerance": -1},
            "tolerance: Input should be greater than or equal to 0; it is '-1'",
        ),
        ({"name": "regex"}, "pattern is missing"),
        ({"name": "regex", "pattern": "("}, "no regular expression of Python's: missing"),
        ({"name": "regex", "pattern": "a" * 1001}, "pattern: String should have at most 1000"),
        ({"name": "choice", "choices": "a]"}, "choices: "),
        ({"name": "number", "weight": 0}, "weight must be a number above 0, at most 1,000,000; it is '0'"),
        ({"name": "number", "weight": True}, "weight must be"),
        ([], "a sum of 0 verifiers"),
    ],
)
def test_what_cannot_be_built_says_what_can(described: Any, words: str) -> None:
    with pytest.raises(VerifierError) as raised:
        build_verifier(described)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("number", "seven", "'seven' holds no number"),
        ("number", "1 000", "'1 000' would be read as 000: write one number, such as 1000, 1,000"),
        ("number", "3,14", "would be read as 14"),
        ("number", "#### 1.234,56", "would be read as 56"),
        ("number", "3 hours 20 minutes", "would be read as 20"),
        ("number", "5 or 6", "would be read as 6"),
        ("number", "5:30", "would be read as 30"),
        ("number", "2^10", "is an expression: the verifier math compares those"),
        ("number", r"3\sqrt{2}", "is an expression"),
        ("number", "2π", "is an expression"),
        ("choice", "E", "none of A, B, C, D"),
        ("choice", "AB", "none of A, B, C, D"),
        ("choice", "", "none of A, B, C, D"),
        ("json", "7", "characters; the verifiers exact and number compare single values"),
        ("json", "[" * 5000, "no JSON object or list"),
        ("json", "[" * 65 + "]" * 65, "no JSON object or list"),
        ("exact", "x" * 4001, "an answer of 4001 characters; exact takes 1 to 4000"),
        ("exact", "\u200b", "an answer of 0 characters"),
    ],
)
def test_an_answer_that_nothing_can_equal_is_refused(name: str, answer: str, words: str) -> None:
    with pytest.raises(VerifierError) as raised:
        build_verifier(name)[0].check_answer(answer)
    assert words in str(raised.value)
