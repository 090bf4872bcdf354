"""The error of an export, apart from what makes one: whoever maps errors to exit codes loads no torch for it."""

from __future__ import annotations


class ExportError(ValueError):
    """An export that cannot be made as asked; the message says what to change."""
