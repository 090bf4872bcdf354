"""Errors between the page and its reader."""

from __future__ import annotations


class DashboardError(OSError):
    """The page cannot be served here; the message says what to do."""


class QueryError(ValueError):
    """A query string that the page does not send; the message has nothing of it."""
