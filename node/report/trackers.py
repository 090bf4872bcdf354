"""The trackers that need a library: TensorBoard, Weights & Biases, trackio. Each is imported where it is made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from node.config.reading import resolved_json
from node.config.schema import Config
from node.report.rounds_file import RoundsFile
from node.report.samples import COLUMNS, Sample

SAMPLES = "samples"  # the name under which rollouts stand beside the figures


class Tracker(Protocol):
    """Takes the figures of rounds, in order, in one thread of its own. May raise whatever its library does."""

    def log(self, round_number: int, figures: Mapping[str, float]) -> None: ...

    def log_samples(self, round_number: int, samples: Sequence[Sample]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker needs to know of the run."""

    config: Config
    folder: Path  # of the run
    first: int  # the round that comes next

    @property
    def name(self) -> str:
        return self.folder.absolute().name

    @property
    def tracking(self) -> Path:
        return self.folder / "tracking"

    @property
    def id(self) -> str:
        """The same for a run and its resumption, for no other on this machine."""
        whole = f"{self.folder.absolute()} {self.config.seed}"
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    @property
    def facts(self) -> dict[str, Any]:
        """The config as trackers show it."""
        return dict(json.loads(resolved_json(self.config)))


class TensorBoard:
    """Event files below `tracking/tensorboard`, which TensorBoard itself reads."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Rounds that a resumed run plays again are purged from what is shown.
        self._writer: Any = SummaryWriter(str(run.tracking / "tensorboard"), purge_step=run.first)
        if not run.first:
            self._writer.add_text("config", f"```\n{resolved_json(run.config)}\n```", 0)

    def log(self, round_number: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, round_number)
        self._writer.flush()

    def log_samples(self, round_number: int, samples: Sequence[Sample]) -> None:
        self._writer.add_text(SAMPLES, "\n\n".join(map(as_markdown, samples)), round_number)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run at W&B, by default kept offline below `tracking/wandb`."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        run.tracking.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=run.config.tracking.project,
            name=run.name,
            id=run.id,
            dir=str(run.tracking),
            mode=run.config.tracking.wandb_mode,
            resume="allow" if run.config.tracking.wandb_mode == "online" else None,
            config=run.facts,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def log(self, round_number: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=round_number)

    def log_samples(self, round_number: int, samples: Sequence[Sample]) -> None:
        import wandb

        table = wandb.Table(columns=list(COLUMNS), data=[sample.row for sample in samples])
        self._run.log({SAMPLES: table}, step=round_number)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A local trackio project below `tracking/trackio`."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ["TRACKIO_DIR"] = str((run.tracking / "trackio").absolute())  # read as it is imported
        import trackio

        self._trackio = trackio
        trackio.init(
            project=run.config.tracking.project,
            name=run.name,
            config=run.facts,
            resume="allow",
            embed=False,
        )

    def log(self, round_number: int, figures: Mapping[str, float]) -> None:
        self._trackio.log(dict(figures), step=round_number)

    def log_samples(self, round_number: int, samples: Sequence[Sample]) -> None:
        """Its page takes cells for Markdown, so texts stand as code."""
        import pandas

        shown = [replace(each, prompt=_code(each.prompt), text=_code(each.text)) for each in samples]
        frame = pandas.DataFrame([sample.row for sample in shown], columns=list(COLUMNS))
        self._trackio.log({SAMPLES: self._trackio.Table(dataframe=frame)}, step=round_number)

    def close(self) -> None:
        self._trackio.finish()


def as_markdown(sample: Sample) -> str:
    """A line of figures, prompt and text; what was written stands as code, which nothing in it ends."""
    fate = f"advantage {sample.advantage:+z.3f}" if sample.advantage is not None else sample.reason
    head = f"{sample.id}, {sample.origin}, {sample.task} {sample.seed}: reward {sample.reward:.3f}, {fate}"
    return "\n\n".join(map(_code, (head, sample.prompt, sample.text)))


def _code(text: str) -> str:
    """Four spaces before each line: Markdown reads nothing in it."""
    return "\n".join(f"    {line}" for line in text.split("\n"))


TRACKERS: Mapping[str, Callable[[TrackedRun], Tracker]] = {
    "jsonl": lambda run: RoundsFile(run.tracking, run.first),
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}
