"""Regular expressions as a kind of work: some take years over some texts. A worker process runs this file.

For {pattern, ignore_case, text}: {"found": bool, "grouped": bool, "answer": text or null}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MEMORY_BYTES = 2**30


def greet(arguments: Sequence[str]) -> dict[str, Any]:
    """Nothing to tell."""
    return {}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Whether the pattern is found, and what its group `answer` holds in the last place where it is."""
    text = question["text"]
    pattern = re.compile(question["pattern"], re.DOTALL | (re.IGNORECASE if question["ignore_case"] else 0))
    grouped = "answer" in pattern.groupindex
    last = pattern.search(text)
    while grouped and last and (further := pattern.search(text, max(last.end(), last.start() + 1))):
        last = further
    return {
        "found": last is not None,
        "grouped": grouped,
        "answer": last["answer"] if last and grouped else None,
    }
