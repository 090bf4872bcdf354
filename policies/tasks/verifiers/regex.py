"""Verifier by a regular expression, searched for by a worker process within its seconds."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from policies.settings import Settings
from policies.tasks.verifiers.plain_text import composed, plain_text
from policies.tasks.verifiers.verifier import VerifierError
from policies.unjudged import shown, tell_unjudged
from policies.workers.pool import Worker

SCANNED_CHARACTERS = 4096  # of a completion's end
MAX_PATTERN = 1000
# Processor time of one search: a machine that is busy with other things does not shorten it. Most take 10 us.
CPU_SECONDS = 0.2

SEARCHES = Worker(
    Path(__file__).with_name("regex_work.py"), flags=("-I", "-S"), cpu_seconds=CPU_SECONDS, bare=True
)


class Regex(Settings):
    """Without a group named `answer`, the pattern has to be found; with one, what it holds has to be the answer."""

    name: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, max_length=MAX_PATTERN)
    """Python's syntax; `.` matches line breaks too. `(?P<answer>...)` marks what is compared, in the last match."""
    ignore_case: bool = False
    """Whether small and capital letters are equal, in the pattern and in the answer."""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            with warnings.catch_warnings(action="ignore"):  # a stranger's pattern prints nothing here
                re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"no regular expression of Python's: {error}") from None
        return pattern

    @property
    def version(self) -> int:
        return 3

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if len(answer) > SCANNED_CHARACTERS:
            raise VerifierError(
                f"an answer of {len(answer)} characters; regex reads at most {SCANNED_CHARACTERS}"
            )

    def score(self, completion: str, answer: str) -> float | None:
        """1.0 or 0.0; None where the search took longer than `CPU_SECONDS` or its process ended over it."""
        found = searched(
            self.pattern,
            composed(completion[-SCANNED_CHARACTERS:]),
            ignore_case=self.ignore_case,
        )
        if found is None:
            return None
        if found["answer"] is None:
            return float(found["found"] and not found["grouped"])
        left, right = (plain_text(text, ignore_case=self.ignore_case) for text in (found["answer"], answer))
        return float(left == right)


def searched(pattern: str, text: str, *, ignore_case: bool) -> dict[str, Any] | None:
    """What the process found; None, said in the log, where it did not come to an end."""
    answer = SEARCHES.ask(pattern=pattern, text=text, ignore_case=ignore_case)
    if "found" in answer:
        return answer
    why = f"{SEARCHES.why(answer)}, as a pattern does that repeats a repetition: (a+)+"
    tell_unjudged(f"the pattern {shown(pattern)}", text, why)
    return None
