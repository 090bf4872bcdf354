"""The finished cells of a benchmark, one JSON file each: a second call goes on where the first ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from node.bench.kit.options import BenchError
from node.storage.run_folder import write_atomic
from policies.plain_files import read_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class KeptCell(Protocol):
    """What one arm came to in one seed, measured by a plan."""

    @property
    def arm(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def plan(self) -> DataclassInstance: ...

    def as_json(self) -> dict[str, Any]: ...


C = TypeVar("C", bound=KeptCell)


@dataclass(frozen=True, slots=True)
class CellStore(Generic[C]):
    """A folder of cells of one plan. `read` takes what `as_json` gave; it raises TypeError and KeyError."""

    folder: Path
    plan: DataclassInstance
    read: Callable[[dict[str, Any]], C]

    def put(self, cell: C) -> None:
        """Writes a cell whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file(cell.arm, cell.seed), json.dumps(cell.as_json()))

    def get(self, arm: str, seed: int) -> C | None:
        """The cell, where it is finished. Raises BenchError when the file is of another plan or cannot be read."""
        file = self._file(arm, seed)
        if not file.exists():
            return None
        try:
            cell = self.read(read_json(file))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BenchError(f"{file} cannot be read ({error}); move it away") from error
        if cell.plan != self.plan:
            raise BenchError(
                f"{file} was measured with {asdict(cell.plan)}, asked for are {asdict(self.plan)}; choose another --dir"
            )
        return cell

    def cells(self, arms: Iterable[str], seeds: Iterable[int]) -> list[C]:
        """What is finished of these."""
        wanted = [(arm, seed) for seed in seeds for arm in arms]
        return [cell for arm, seed in wanted if (cell := self.get(arm, seed)) is not None]

    def _file(self, arm: str, seed: int) -> Path:
        return self.folder / f"{arm.replace('/', '-').replace(' ', '-')}-{seed}.json"
