"""The finished cells of `murmur bench sapo`, one JSON file each: a second call goes on where the first ended."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from node.bench.kit.options import BenchError
from node.bench.sapo.cell import Cell
from node.bench.sapo.population import PopulationPlan
from node.storage.run_folder import write_atomic


@dataclass(frozen=True, slots=True)
class CellStore:
    """A folder of cells of one plan."""

    folder: Path
    plan: PopulationPlan

    def put(self, cell: Cell) -> None:
        """Writes a cell whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file(cell.arm, cell.seed), json.dumps(cell.as_json()))

    def get(self, arm: str, seed: int) -> Cell | None:
        """The cell, where it is finished. Raises BenchError when the file is of another plan or cannot be read."""
        file = self._file(arm, seed)
        if not file.exists():
            return None
        try:
            cell = Cell.from_json(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BenchError(f"{file} cannot be read ({error}); move it away") from error
        if cell.plan != self.plan:
            raise BenchError(
                f"{file} was measured with {asdict(cell.plan)}, asked for are {asdict(self.plan)}; choose another --dir"
            )
        return cell

    def cells(self, arms: Iterable[str], seeds: Iterable[int]) -> list[Cell]:
        """What is finished of these."""
        wanted = [(arm, seed) for seed in seeds for arm in arms]
        return [cell for arm, seed in wanted if (cell := self.get(arm, seed)) is not None]

    def _file(self, arm: str, seed: int) -> Path:
        return self.folder / f"{arm.replace('/', '-').replace(' ', '-')}-{seed}.json"
