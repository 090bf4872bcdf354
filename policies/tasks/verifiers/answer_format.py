"""Answer formats: how a prompt asks for the final answer, how one is written, and whether a completion keeps to it.

One definition for the prompt (`policy.prompt.answer_format`), its examples, and the verifier `format`. The marks are
those that every verifier reads an answer in.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

from pydantic import Field

from policies.settings import Settings
from policies.tasks.verifiers.answer import BOX, SCANNED_CHARACTERS, TAG, TAG_END


class AnswerFormat(StrEnum):
    """Where the final answer stands in a completion."""

    FREE = "free"  # nothing is asked for
    ANSWER_TAG = "answer_tag"
    BOXED = "boxed"
    LAST_NUMBER = "last_number"

    @property
    def instruction(self) -> str:
        """What a prompt says of it; empty where nothing is asked for."""
        return _INSTRUCTIONS[self]

    def written(self, answer: str) -> str:
        """A right answer as a policy that keeps to the format would write it."""
        return _WRITTEN[self].replace("ANSWER", answer)

    def kept(self, completion: str) -> bool:
        """Whether the end of a completion has the form, whatever the answer in it."""
        pattern = _FORMS[self]
        return pattern is None or bool(pattern.search(completion[-SCANNED_CHARACTERS:].rstrip()))


_INSTRUCTIONS = {
    AnswerFormat.FREE: "",
    AnswerFormat.ANSWER_TAG: f"Write your final answer as {TAG}your answer{TAG_END}.",
    AnswerFormat.BOXED: f"Write your final answer as {BOX}your answer}}.",
    AnswerFormat.LAST_NUMBER: "End with the answer as a number, and write nothing behind it.",
}
_WRITTEN = {
    AnswerFormat.FREE: "ANSWER",
    AnswerFormat.ANSWER_TAG: f"{TAG}ANSWER{TAG_END}",
    AnswerFormat.BOXED: f"{BOX}ANSWER}}",
    AnswerFormat.LAST_NUMBER: "ANSWER",
}
# Each is linear in the text: no part can be read in two ways.
_FORMS = {
    AnswerFormat.FREE: None,
    AnswerFormat.ANSWER_TAG: re.compile(r"<answer>(?:[^<]|<(?!/?answer>)){1,400}+</answer>[.\s]*+$"),
    AnswerFormat.BOXED: re.compile(r"\\boxed\{[^\n]{1,400}\}[.$)\]\s]*+$"),
    AnswerFormat.LAST_NUMBER: re.compile(r"(?<![\w.])[-+]?\.?[0-9][0-9,./]{0,60}(?:[eE][-+]?[0-9]{1,9})?$"),
}


class Form(Settings):
    """The form alone, whatever the answer in it: a part of a sum, for a policy that does not find the answer yet."""

    name: Literal["format"] = "format"
    form: Literal["answer_tag", "boxed", "last_number"] = Field(default="answer_tag")
    """Which one: as `policy.prompt.answer_format` asks for it."""

    @property
    def version(self) -> int:
        return 2

    def check_answer(self, answer: str) -> None:
        """Any answer can be written so."""

    def score(self, completion: str, answer: str) -> float:
        """1.0 or 0.0."""
        return float(AnswerFormat(self.form).kept(completion))
