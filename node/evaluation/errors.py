"""The error of an evaluation, apart from what makes one: whoever maps errors to exit codes loads no torch for it."""

from __future__ import annotations


class EvaluationError(ValueError):
    """An evaluation that cannot be made as asked; the message says what to change."""
