"""Lines of a log: what strangers and their rollouts wrote stands in them, and a log is read in a terminal."""

from __future__ import annotations

import logging


class PrintableFormatter(logging.Formatter):
    """Writes what would move a cursor, turn a line round or hide as its number; line feeds stay."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if line.isprintable():
            return line
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in line)
