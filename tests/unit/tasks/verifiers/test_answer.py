"""Where a completion's answer is read: the same place for numbers, for words and for several lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.tasks.verifiers.answer import SCANNED_CHARACTERS, answer_part, ends_with_text, last_number_is

# {} stands for the answer. Right in all of them, whatever kind of answer it is.
MARKED = [
    r"\boxed{{{}}}",
    r"So it is \boxed{{{}}}. That is less than 31337, as Monday said.",
    r"$\boxed{{\text{{{}}}}}$",
    r"\[ \boxed{{ \mathrm{{ {} }} }} \]",
    r"\boxed{{\textbf{{\text{{{}}}}}}}",
    "<answer>{}</answer> and 31337 on Monday",
    r"<answer>\boxed{{{}}}</answer>, not 31337 Mondays",
    r"\boxed{{<answer>{}</answer>}} then 31337 Mondays",
    r"<answer>31337 Monday</answer> no: \boxed{{{}}} 31337 Monday",
    r"\boxed{{31337 Monday}} no: <answer>{}</answer> 31337 Monday",
    r"\boxed{{31337 Monday}} or \boxed{{{}}}",
    r"\boxed{{{}",
    "<answer>{}",
]
WRONG = [
    r"\boxed{{{}}} or rather \boxed{{31337 Monday}}",
    r"\boxed{{{}}} <answer>31337 Monday</answer>",
    r"<answer>{}</answer> \boxed{{31337 Monday}}",
    r"\boxed{{{} or 31337 Monday}}",
    r"\boxed{{}} {}",
    r"<answer></answer> {}",
]
ANSWERS = [
    (last_number_is, "42"),
    (last_number_is, "-3.5"),
    (ends_with_text, "Friday"),
    (ends_with_text, "4 4 1"),
]


@pytest.mark.parametrize(("verifier", "answer"), ANSWERS)
@pytest.mark.parametrize("form", MARKED)
def test_a_marked_answer_is_read_by_every_verifier(form: str, verifier: object, answer: str) -> None:
    assert callable(verifier)
    assert verifier(form.format(answer), answer) is True


@pytest.mark.parametrize(("verifier", "answer"), ANSWERS)
@pytest.mark.parametrize("form", WRONG)
def test_only_the_last_mark_counts(form: str, verifier: object, answer: str) -> None:
    assert callable(verifier)
    assert verifier(form.format(answer), answer) is False


@pytest.mark.parametrize(
    ("completion", "part"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{a {b} c} d", "a {b} c"),
        (r"\boxed{\text{two words}}", "two words"),
        ("no mark", "no mark"),
        ("<answer>0 1\n1 0</answer>", "0 1\n1 0"),
        ("\\boxed{0 1\n1 0}", "0 1\n1 0"),
    ],
)
def test_parts_by_hand(completion: str, part: str) -> None:
    assert answer_part(completion) == part


@given(
    st.lists(
        st.sampled_from(["<answer>", "</answer>", "\\boxed{", "{", "}", "\\text{", "7", " "]), max_size=60
    )
)
def test_nothing_that_is_written_keeps_it_from_an_end(pieces: list[str]) -> None:
    part = answer_part("".join(pieces))
    assert "<answer>" not in part and "\\boxed{" not in part and part in "".join(pieces)


@pytest.mark.parametrize("piece", ["\\boxed{", "<answer>", "\\text{", "{", "}"])
def test_a_hostile_completion_is_read_in_a_bounded_part(piece: str) -> None:
    assert len(answer_part(piece * 100_000)) <= SCANNED_CHARACTERS


def test_marks_in_one_another_are_followed_a_few_deep() -> None:
    """Each took another look at the rest: thousands of them took 31 ms of one completion."""
    assert answer_part("<answer>\\boxed{" * 4 + "42" + "}</answer>" * 4) == "42"
    deep = "\\boxed{" + "<answer>" * 400
    looks = 0

    class Counted(str):
        def rfind(self, *where: object) -> int:
            nonlocal looks
            looks += 1
            return super().rfind(*where)  # type: ignore[arg-type]

        def __getitem__(self, key: object) -> Counted:
            return Counted(super().__getitem__(key))  # type: ignore[index]

        def partition(self, mark: str) -> tuple[str, str, str]:
            return tuple(map(Counted, super().partition(mark)))  # type: ignore[return-value]

    nested = Counted(deep)
    answer_part(nested)
    assert 0 < looks <= 2 * 8 + 2
