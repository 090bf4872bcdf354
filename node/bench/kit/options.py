"""Options of a benchmark, and the refusal of names that it does not know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from policies.error_words import no_such


class BenchError(ValueError):
    """A benchmark that is not known, or an option that it cannot follow; the message says what to ask for."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What the user asked for; None and empty leave the choice to the benchmark."""

    model: str | None = None  # anything `policies.text.model.load` takes
    repeats: int | None = None  # each from its own seed: `first_seed` and those after it
    cases: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    nodes: int | None = None
    splits: tuple[str, ...] = ()  # own/external groups of an update
    rounds: int | None = None
    policy: str | None = None
    seconds: float | None = None  # that each case lasts
    malicious: float | None = None  # share of the nodes
    population: str | None = None  # how nodes differ at their start
    first_seed: int = 0  # of the repeats
    rates: tuple[str, ...] = ()  # learning rates to choose from
    plot: Path | None = None  # an SVG file to write
    page: Path | None = None  # a Markdown file to write
    folder: Path | None = None  # of what a second call goes on from
    jobs: int | None = None  # cells that are played at a time, each in a process of its own
    device: str | None = None  # cuda or cpu
    # Facts on the machine, for the report; filled in by `run_benchmark`.
    machine: Mapping[str, str | int] = field(default_factory=dict)


def refuse_unknown(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises BenchError for the first of `given` that is not among `known`, with the nearest."""
    names = list(known)
    for name in given:
        if name not in names:
            raise BenchError(no_such(kind, name, names))
