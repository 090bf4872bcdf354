"""The checkpoint that an export is of, found before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from node.config.schema import Config
from node.config.sections.policy import EmbeddedPolicyConfig, TextPolicyConfig
from node.export.errors import ExportError
from node.storage.best_checkpoint import find_best
from node.storage.checkpoint import POLICY, Checkpoints
from node.storage.run_folder import RunFolder, find_run
from policies.text.settings import WEIGHTS_FOLDER


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint to export, and the run that it is of."""

    run: RunFolder
    config: Config
    policy: TextPolicyConfig | EmbeddedPolicyConfig
    checkpoint: Path

    @property
    def weights(self) -> Path:
        return self.checkpoint / POLICY / WEIGHTS_FOLDER


def find_source(run: Path, round_number: int | None, *, best: bool = False) -> Source:
    """The checkpoint of a round or the best one, by default the newest.

    Raises ExportError for a policy that is no language model, and where no best one was kept.
    """
    if best and round_number is not None:
        raise ExportError("--best and --round each name a checkpoint: leave one out")
    folder = find_run(run)
    config = folder.read_config()
    policy = config.policy
    if not isinstance(policy, TextPolicyConfig | EmbeddedPolicyConfig):
        raise ExportError(
            f"{folder.path} trained a policy that makes images, and only language models are exported so far: its "
            f"weights lie in {folder.checkpoints}, in the last folder"
        )
    found = find_best(folder.checkpoints) if best else Checkpoints(folder.checkpoints, 1).find(round_number)
    if found is None:
        raise ExportError(
            f"{folder.path} kept no best checkpoint: run with --set checkpoint.keep_best=true, which keeps one at the "
            "evaluations after the start; or leave out --best"
        )
    return Source(folder, config, policy, found)
