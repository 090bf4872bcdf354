"""Lengths of time in seconds, and how the page's words and its scripts both tell them."""

from __future__ import annotations

SPANS = [
    (0.0, "0 s"),
    (0.0002, "< 1 ms"),
    (0.0214, "21 ms"),
    (0.34, "340 ms"),
    (0.9996, "1.0 s"),
    (12.68, "12.7 s"),
    (59.96, "1 min"),
    (200.2, "3 min 20 s"),
    (3599.7, "1 h"),
    (7512.0, "2 h 5 min"),
    (275_000.0, "3 d 4 h"),
]
