"""The Verifier interface: a completion against a row's answer, in a bounded time, by name and options."""

from __future__ import annotations

from typing import Protocol

from policies.install_hints import PackageMissing


class VerifierError(ValueError):
    """A verifier that cannot be built as asked, or an answer that it cannot compare with; says what to change."""


class VerifierPackageMissing(PackageMissing, VerifierError):
    """A verifier that needs a package that is not installed here."""


class Verifier(Protocol):
    """Pure in its arguments and options; peers that agree on those and on the version agree on every reward."""

    @property
    def version(self) -> int | str:
        """Another whenever any completion would get another reward than before."""
        ...

    def check_answer(self, answer: str) -> None:
        """Raises VerifierError for a right answer that no completion could be found equal to."""
        ...

    def score(self, completion: str, answer: str) -> float | None:
        """Reward in [0, 1]; None, no verdict, where the check could not be made in its time. Never raises."""
        ...
