"""The verifier of mathematics: what is equal, what costs a bounded time, and words where the library is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

import pytest

from policies.install_hints import install_extras
from policies.tasks.verifiers import math
from policies.tasks.verifiers.build import build_verifier
from policies.tasks.verifiers.math import Math
from policies.tasks.verifiers.verifier import VerifierError

RIGHT = [
    ("1/2", r"so \boxed{\frac{2}{4}}"),
    ("0.5", "it is\n1/2"),
    ("x(x+1)", "<answer>x^2+x</answer>"),
    (r"\{1,2\}", r"\boxed{\{2,1\}}"),
    ("(0,1]", "the interval is\n$(0,1]$"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    ("#### 7", r"\boxed{7}"),
    ("5", "So the answer is **5**."),
    ("0.5", "Answer: .5"),
    ("3/2", "1 1/2"),
    ("1e3", "1000"),
    ("$5", r"\$5"),
    ("x^2", "x²"),
    ("5!", "120"),
    (r"\text{Paris}", "It is paris."),
]
WRONG = [
    ("12", "#### 13"),
    ("5", ""),
    ("5", "x" * 2000),
    ("5", "none of it"),
    ("listen", "silent"),
    ("12", "12 or 13"),
    ("1/2", "1 1/2"),
    (r"\{1,2\}", r"\boxed{\{1,3\}}"),
]
# The first stay in C, where only the system ends them; a timer ends the last.
ENDLESS = [r"\boxed{9^{9^{9}}}", r"\boxed{2^{1000000000}}", r"\boxed{(x+1)^{99999}}"]


@pytest.fixture(autouse=True)
def _the_process_ends() -> Iterator[None]:
    yield
    math.COMPARISONS.close()


@pytest.fixture
def library() -> None:
    pytest.importorskip("math_verify", reason="pip install 'murmuration[math]'")


@pytest.mark.usefixtures("library")
def test_equal_expressions_are_equal_and_others_are_not() -> None:
    verifier, rules = build_verifier("math")
    assert [verifier.score(text, answer) for answer, text in RIGHT] == [1.0] * len(RIGHT)
    assert [verifier.score(text, answer) for answer, text in WRONG] == [0.0] * len(WRONG)
    assert (
        f"sympy {metadata.version('sympy')}" in rules
        and f"math-verify {metadata.version('math-verify')}" in rules
    )


@pytest.mark.usefixtures("library")
def test_what_computes_for_ever_has_no_verdict_and_the_next_text_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verifier, _ = build_verifier("math")
    assert verifier.score("1/2", "0.5") == 1.0
    monkeypatch.setattr(math.COMPARISONS, "cpu_seconds", 0.5)
    assert [verifier.score(text, "5") for text in ENDLESS] == [None] * len(ENDLESS)
    monkeypatch.setattr(math.COMPARISONS, "cpu_seconds", math.CPU_SECONDS)
    assert verifier.score("1/2", "0.5") == 1.0


@pytest.mark.usefixtures("library")
@pytest.mark.timeout(170)
def test_nesting_and_digits_cost_a_bounded_time() -> None:
    verifier, _ = build_verifier("math")
    for text in (
        "(" * 900,
        r"\frac{1}{" * 90,
        "{" * 999,
        "1" * 100_000,
        r"\sqrt{" * 100 + "2" + "}" * 100,
        "\x00",
    ):
        assert verifier.score(rf"\boxed{{{text}}}", "5") in (0.0, None)


@pytest.mark.usefixtures("library")
def test_a_machine_that_stands_still_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, _ = build_verifier("math")
    monkeypatch.setattr(math.COMPARISONS, "wall_seconds", 0.0)
    assert [verifier.score(text, answer) for answer, text in RIGHT[:2]] == [None, None]
    assert verifier.score("so it is\n5", "5") == 1.0, "equal texts need no library"


def test_a_missing_library_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math, "LIBRARIES", ("no-such-library",))
    with pytest.raises(
        VerifierError, match=re.escape(f"needs the package no-such-library: {install_extras('math')}")
    ):
        build_verifier("math")


def test_an_answer_that_is_too_long_or_empty_is_refused() -> None:
    for answer in ("x" * 1001, r"\boxed{}"):
        with pytest.raises(VerifierError, match="math takes 1 to 1000"):
            Math().check_answer(answer)
