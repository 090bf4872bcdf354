"""The place where the weights of a run lie, and the command that takes them away."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from node.storage.best_checkpoint import find_best
from node.storage.checkpoint import POLICY, Checkpoints, checkpoint_name, round_of
from node.storage.run_folder import RunFolder
from node.ui.invocation import murmur
from policies.text.settings import WEIGHTS_FOLDER


@dataclass(frozen=True, slots=True)
class Weights:
    """Checkpoints of one run; empty names where none was written yet."""

    newest: str  # folder
    round: int | None  # after which it was written
    best: str  # the one with the best held-out evaluation, where checkpoint.keep_best is set
    best_round: int | None
    export: str  # the command that writes them as a Hugging Face folder; empty for images, and where there are none

    @property
    def words(self) -> str:
        """Two lines at most."""
        if not self.newest:
            return "weights: none saved yet; a checkpoint is written every checkpoint.every rounds, and at the end"
        best = f"; the best on held-out problems: {self.best}" if self.best else ""
        taking = f"\ntake them away: {self.export}" if self.export else ""
        return f"weights: {self.newest}, after round {self.round}{best}{taking}"


def weights_of(folder: RunFolder) -> Weights:
    """As they lie on disk now; a node that runs may replace them."""
    number = Checkpoints(folder.checkpoints, 1).newest()
    best = find_best(folder.checkpoints)
    newest = "" if number is None else str(folder.checkpoints / checkpoint_name("round", number))
    of_language = bool(newest) and (Path(newest) / POLICY / WEIGHTS_FOLDER).is_dir()
    return Weights(
        newest,
        number,
        str(best) if best else "",
        round_of(best) if best else None,
        murmur("export", folder.path, _free_folder("my-model")) if of_language else "",
    )


def _free_folder(name: str) -> str:
    """The name, or the name and the first number with which nothing is there."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if not Path(free).exists())
