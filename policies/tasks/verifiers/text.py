"""Verifiers of words: `exact`, the whole answer, and `choice`, one letter of several."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal

from pydantic import Field

from policies.settings import Settings
from policies.tasks.verifiers.answer import BOX, EDGES, TAG, answer_part
from policies.tasks.verifiers.plain_text import plain_text
from policies.tasks.verifiers.verifier import VerifierError

# Longer right answers are no answers; a completion's part is compared whole, which takes time in its length.
MAX_ANSWER = 4000
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}  # full-width letters, digits and signs
_SMALL = re.compile(r"[\s(*]{0,9}([a-z])[).:]\s")


class Exact(Settings):
    """The answer and nothing else: the marked part where one is marked, else the whole completion."""

    name: Literal["exact"] = "exact"
    ignore_case: bool = False
    """Whether `Paris` and `PARIS` are equal."""

    @property
    def version(self) -> int:
        return 3

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if not 0 < (length := len(self._plain(answer))) <= MAX_ANSWER:
            raise VerifierError(f"an answer of {length} characters; exact takes 1 to {MAX_ANSWER}")

    def score(self, completion: str, answer: str) -> float:
        """1.0 or 0.0; spaces at the ends do not count, and a run of them counts as one. Both sides are read alike."""
        return float(self._plain(completion) == self._plain(answer))

    def _plain(self, text: str) -> str:
        part = answer_part(text) if TAG in text or BOX in text else text
        return plain_text(part, ignore_case=self.ignore_case)


class Choice(Settings):
    """One of several letters: the last that stands alone in the marked part or, without a mark, at the end."""

    name: Literal["choice"] = "choice"
    choices: str = Field(default="ABCD", min_length=2, max_length=36, pattern=r"^[A-Z0-9]+$")
    """The letters (or digits) there are to choose from."""

    @property
    def version(self) -> int:
        return 2

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if (self._bare(answer) or "?") not in self.choices:
            raise VerifierError(
                f"the answer {answer[:40]!r} is none of {', '.join(self.choices)}: name the column that holds the "
                f"letter, or set the verifier's choices"
            )

    def score(self, completion: str, answer: str) -> float:
        """1.0 or 0.0. A small letter counts where it is alone, or begins a part without capital ones: `b) a dog`."""
        part = self._article.sub(r"\1", answer_part(completion).translate(_NARROW))
        alone = self._bare(part)
        found = [alone] if alone and alone in self.choices else self._pattern.findall(part)
        if not found and (small := _SMALL.match(part)):
            found = [small[1].upper()]
        return float(bool(found) and found[-1] == self._bare(answer))

    @cached_property
    def _article(self) -> re.Pattern[str]:
        """What comes before the A of `B) A dog`, or of `B. A is wrong`."""
        return re.compile(rf"((?<![A-Za-z0-9'])[{self.choices}][).:]\**\s{{1,3}})A(?=\s[a-z])")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![A-Za-z0-9'])([{self.choices}])(?![A-Za-z0-9'])")

    def _bare(self, text: str) -> str:
        """What is left of `(b).` without what stands round it; empty for more than one character."""
        bare = text.strip(EDGES).upper()
        return bare if len(bare) == 1 else ""
