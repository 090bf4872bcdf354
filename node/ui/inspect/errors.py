"""The error of asking for something that a run does not have."""

from __future__ import annotations


class InspectError(ValueError):
    """What was asked for is not in the run's store; the message says what to ask for instead."""
