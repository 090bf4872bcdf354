"""Verifier of mathematics: the marked part, or the last line, equals the row's answer as an expression.

By the library math-verify (sympy, and a grammar of LaTeX), in a worker process: some expressions take for ever.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Literal

from policies.install_hints import install_extras
from policies.settings import Settings
from policies.tasks.verifiers.answer import final_part
from policies.tasks.verifiers.plain_math import is_words, plain_math
from policies.tasks.verifiers.verifier import VerifierError, VerifierPackageMissing
from policies.unjudged import tell_unjudged
from policies.workers.pool import Worker

LIBRARIES = ("math-verify", "latex2sympy2-extended", "sympy")  # whose releases decide what is equal
MAX_ANSWER = 1000  # characters, of both sides
CPU_SECONDS = 2.0  # of one comparison; most take 20 ms

COMPARISONS = Worker(Path(__file__).with_name("math_work.py"), cpu_seconds=CPU_SECONDS)


class Math(Settings):
    r"""`1/2`, `0.5` and `\frac{2}{4}` are equal, and so are `x(x+1)` and `x^2+x`, sets, intervals, matrices."""

    name: Literal["math"] = "math"

    @property
    def version(self) -> str:
        """Ours and the libraries'. Raises VerifierError where one is missing."""
        try:
            return " ".join(["3", *(f"{library} {metadata.version(library)}" for library in LIBRARIES)])
        except metadata.PackageNotFoundError as error:
            raise VerifierPackageMissing(
                f"verifier math needs the package {error.name}: {install_extras('math')}"
            ) from None

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError."""
        if not 0 < len(right := _answer_in(answer)) <= MAX_ANSWER:
            raise VerifierError(f"an answer of {len(right)} characters; math takes 1 to {MAX_ANSWER}")

    def score(self, completion: str, answer: str) -> float | None:
        """1.0 or 0.0; None where the comparison took longer than `CPU_SECONDS`, or its process ended over it."""
        written, right = _answer_in(completion), _answer_in(answer)
        if written == right:
            return 1.0
        if not written or len(written) > MAX_ANSWER or is_words(right):
            return float(is_words(right) and written.casefold() == right.casefold())
        told = COMPARISONS.ask(written=written, right=right)
        if "equal" in told:
            return float(told["equal"])
        tell_unjudged("verifier math", written, COMPARISONS.why(told), right)
        return None


def _answer_in(text: str) -> str:
    """The marked part, or what stands behind `####`; of several lines the last. Without words round it."""
    lines = final_part(text).splitlines()
    return plain_math(lines[-1]) if lines else ""
