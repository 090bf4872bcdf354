"""Reports of transformers and diffusers on the weights they load: kept from the screen, and heeded.

They fill what the files lack with random numbers, say so in a table on standard error, and go on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from policies.policy import PolicyError

logger = logging.getLogger(__name__)

LIBRARIES = ("transformers.modeling_utils", "diffusers.models.modeling_utils")
REPORT = re.compile(r"LOAD REPORT|were not used when initializing|newly initialized")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# A row of transformers' table, and what diffusers says instead.
RANDOM = (
    re.compile(r"^(\S.*?) *\| (?:MISSING|MISMATCH)", re.MULTILINE),
    re.compile(r"newly initialized: \[+'([^']+)'"),
    re.compile(r"newly initialized because [^\n]*\n- (\S+): found shape"),
)
UNUSED = (
    re.compile(r"^(\S.*?) *\| UNEXPECTED", re.MULTILINE),
    re.compile(r"not used when initializing \w+: \s*\[+'([^',]+)"),
)


class _Kept(logging.Filter):
    """Keeps the reports that come while it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if not REPORT.search(said):
            return True
        self.reports.append(COLOUR.sub("", said))
        return False


@contextmanager
def whole_weights(path: str) -> Iterator[None]:
    """Inside, models are loaded from `path`. Raises PolicyError where some of their weights are random numbers.

    Weights that a model has no use for, as parts of another kind of model, are told in the log, in one line.
    """
    kept = _Kept()
    loggers = {one: one.level for one in map(logging.getLogger, LIBRARIES)}
    for one in loggers:
        one.addFilter(kept)
        if not one.isEnabledFor(logging.WARNING):  # the environment wants the libraries silent
            one.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, level in loggers.items():
            one.removeFilter(kept)
            one.setLevel(level)
        if unused := _named(UNUSED, kept.reports):
            logger.info("%s: left out, as the model has no place for it: %s and the like", path, unused[0])
    if lacking := _named(RANDOM, kept.reports):
        raise PolicyError(
            f"cannot load {path}: its files lack weights that its configuration asks for ({lacking[0]}), and random "
            "numbers would stand for them: they are of another architecture, not those of such a model, or not whole"
        )


def _named(patterns: Sequence[re.Pattern[str]], reports: Sequence[str]) -> list[str]:
    return [name for said in reports for pattern in patterns for name in pattern.findall(said)]
