"""Own verifiers: functions of installed packages, by an entry point of the group `murmuration.verifiers`.

They are code. So a config names the package beside the verifier, and only the owner's own config does: an invite that
names one starts nothing. Package, release and a digest of the source are part of a task's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field

from policies.install_hints import install_packages
from policies.settings import Settings
from policies.tasks.verifiers.verifier import VerifierError, VerifierPackageMissing
from policies.unjudged import WANTED, tell_unjudged
from policies.workers.pool import Worker, WorkerError

GROUP = "murmuration.verifiers"
PACKAGE = "package"  # the key that only an own verifier has
WORK = Path(__file__).parents[1] / "code_work.py"
CPU_SECONDS = 2.0  # of one score
SCANNED_CHARACTERS = 16_384  # of a completion's end

_workers: dict[str, Worker] = {}  # by what they load


class Own(Settings):
    """`function(completion, answer)` gives a number from 0 to 1, the same on every machine."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    """The installed package that brings it."""

    @cached_property
    def worker(self) -> Worker:
        """The process that runs it. Raises VerifierError where it is not installed."""
        where = self._entry.value
        return _workers.setdefault(where, Worker(WORK, (where,), cpu_seconds=CPU_SECONDS))

    @property
    def version(self) -> str:
        """Release and source. Raises VerifierError where it is not installed, or does not load."""
        try:
            greeting = self.worker.greeting()
        except WorkerError as error:
            greeting = {"failed": str(error)}
        if "failed" in greeting:
            raise VerifierError(f"verifier {self.name} of {self.package} does not load: {greeting['failed']}")
        assert self._entry.dist is not None
        return f"{self._entry.dist.version} {greeting['source']}"

    def check_answer(self, answer: str) -> None:
        """Any answer: what it is worth is the function's to say."""

    def score(self, completion: str, answer: str) -> float | None:
        """What the function gives; None where it took too long, raised, or gave no number from 0 to 1."""
        told = self.worker.ask(completion=completion[-SCANNED_CHARACTERS:], answer=answer)
        if "score" in told:
            return float(told["score"])
        who = f"verifier {self.name} of {self.package}"
        tell_unjudged(who, completion, f"{self.worker.why(told)}; {WANTED}", answer)
        return None

    @cached_property
    def _entry(self) -> metadata.EntryPoint:
        found = metadata.entry_points(group=GROUP, name=self.name)
        for entry in found:
            if entry.dist is not None and _plain(entry.dist.name) == _plain(self.package):
                return entry
        raise VerifierPackageMissing(
            f"verifier {self.name!r} is of the package {self.package}, which is not installed here or has no such "
            f"entry point: {install_packages(self.package)}, if you trust it"
        )


def own_packages(described: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[str]:
    """The packages whose code a verifier runs, as a config or an invite describes it."""
    if isinstance(described, str):
        return []
    parts = [described] if isinstance(described, Mapping) else described
    return [str(part[PACKAGE]) for part in parts if isinstance(part, Mapping) and PACKAGE in part]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
