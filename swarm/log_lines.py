"""Lines of a log: what strangers and their rollouts wrote stands in them, and a log is read in a terminal."""

from __future__ import annotations

import logging

from swarm.visible_text import visible


class PrintableFormatter(logging.Formatter):
    """Writes what would move a cursor, turn a line round or hide as its number; line feeds stay."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return visible(line, 10 * len(line))  # an escaped character takes ten at most
