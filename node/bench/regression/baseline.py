"""A baseline: the plan of a benchmark, the figures that are watched, and what they were on which machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.registry import BENCHMARKS
from node.bench.kit.report import Report, Row
from node.storage.run_folder import write_atomic
from policies.error_words import complaint, no_such

SHIPPED = Path(__file__).parents[1] / "baselines"
# Facts of a machine that times depend on; the others (torch, threads) are for the reader.
SAME_MACHINE = ("device", "cpu", "cores", "gpu")

Scalar: TypeAlias = str | int | float | bool | None


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Options(_Model):
    """The options of the command that a baseline repeats; see `BenchOptions`."""

    model: str | None = None
    repeats: int | None = Field(default=None, ge=1)
    cases: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    nodes: int | None = None
    splits: tuple[str, ...] = ()
    rounds: int | None = Field(default=None, ge=1)
    policy: str | None = None
    population: str | None = None

    def as_options(self) -> BenchOptions:
        return BenchOptions(**self.model_dump())


class Figure(_Model):
    """One watched figure: a column of the report's rows that have the values of `where`."""

    column: str
    where: dict[str, str | int | bool]
    tolerance: float = Field(gt=0)  # share of the kept median by which a new one may differ
    better: Literal["lower", "higher"] | None = None
    machine_bound: bool = False  # means nothing on another machine: seconds and rates

    def of(self, rows: Sequence[Row]) -> float:
        """The median of the rows that it is about. Raises BenchError where there is none."""
        mine = [row for row in rows if all(row.get(key) == value for key, value in self.where.items())]
        found = [float(value) for row in mine if isinstance(value := row.get(self.column), int | float)]
        if not found:
            raise BenchError(f"the report has no figure {self.column!r} where {self.where}")
        return statistics.median(found)


class Measured(_Model):
    """What the figures were: one value a run, on this machine."""

    machine: dict[str, Scalar]
    values: dict[str, tuple[float, ...]]


class Baseline(_Model):
    """The file `baselines/NAME.json`. Without `measured` it is a plan that was not run yet."""

    benchmark: str
    options: Options
    runs: int = Field(default=1, ge=1)  # whole runs of the benchmark, whose median counts
    figures: dict[str, Figure] = Field(min_length=1)
    measured: Measured | None = None

    def measured_from(self, reports: Sequence[Report]) -> Baseline:
        """The same plan with the figures of these runs. Raises BenchError where one is missing."""
        values = {name: tuple(figure.of(r.rows) for r in reports) for name, figure in self.figures.items()}
        machine: Mapping[str, Any] = reports[0].machine
        return self.model_copy(update={"measured": Measured(machine=dict(machine), values=values)})


def find_baseline(name: str) -> Path:
    """A file, or one of the shipped baselines by its name. Raises BenchError."""
    shipped = SHIPPED / f"{name}.json"
    path = Path(name) if Path(name).is_file() else shipped
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.json")))
        raise BenchError(f"no baseline {name!r}: give a file, or one of {known}")
    return path


def read_baseline(path: Path) -> Baseline:
    """Raises BenchError for a file that is no baseline; the message says where and what."""
    try:
        baseline = Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(f"{path} is no baseline: {where}: {complaint(first)}") from error
    if baseline.benchmark not in BENCHMARKS:
        raise BenchError(f"{path}: {no_such('benchmark', baseline.benchmark, BENCHMARKS)}")
    return baseline


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes the file whole or not at all. Raises BenchError where it cannot be written."""
    try:
        write_atomic(path, baseline.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}; copy it and give the copy") from error
