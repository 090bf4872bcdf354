"""Atomic checkpoints: a folder appears whole under its final name or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from policies.error_words import brief
from policies.plain_files import read_json, require_plain_files
from policies.policy import Policy

STATE = "state.json"
POLICY = "policy"  # folder of a checkpoint, in which the policy saves itself
NEARLY_FULL = 1.0  # MB that are free: less, and libraries fail in words that say nothing of a disk
FORMAT = 5
# Formats of before that are read: their fields, and the names of today.
RENAMED = {4: {"insight": "feedback"}}

Kind = Literal["round", "best"]  # of the newest ones, or the one with the best evaluation (`best_checkpoint`)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read; the message names it and what to do."""


class NoSuchRound(CheckpointError):
    """No checkpoint is of the round that was asked for; the message names those that there are."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """Everything of a node that is not in its policy. Plain data, kept as JSON."""

    round: int
    pool: Any  # what `ExternalPool.snapshot` gave
    guard: Any  # what `ReplayGuard.snapshot` gave: what was seen, so that nothing is trained on twice
    rollouts: Any  # what `OpenGroups.snapshot` gave: own groups under way
    feedback: Any = None  # what `SwarmFeedback.snapshot` gave
    peers: Any = None  # what `PeerRecords.snapshot` gave
    habits: Any = None  # what `Habits.snapshot` gave
    rates: Any = None  # what `SuccessRates.snapshot` gave, of an adaptive draw
    directions: Any = None  # what `OwnDirections.snapshot` gave
    places: Any = None  # what `HeldPlaces.snapshot` gave
    format: int = FORMAT


class Checkpoints:
    """The checkpoints of one run folder, newest last."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, policy: Policy, state: NodeState) -> Path:
        """Writes one checkpoint and then drops those beyond `keep`. A kill at any point leaves the older ones.

        Raises OSError, and CheckpointError where a library that writes fails in other ways.
        """
        final = self._folder / checkpoint_name("round", state.round)
        if final.exists():
            return final
        draft = self._folder / f".draft-{final.name}"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            # Never the run's own folder: one that was moved away is not made anew.
            self._folder.mkdir(exist_ok=True)
            draft.mkdir()
            (draft / POLICY).mkdir()
            policy.save(draft / POLICY)
            (draft / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
            sync_tree(draft)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)  # it takes room on what may be a full disk
            if error.errno is not None:
                error.filename = error.filename or str(final)
            raise
        except Exception as error:  # the formats' writers fail on a full disk in ways of their own
            room = shutil.disk_usage(self._folder).free / 1e6
            shutil.rmtree(draft, ignore_errors=True)
            said = brief(error) if room >= NEARLY_FULL else "the disk is full"
            raise CheckpointError(
                f"{final} cannot be written ({said}); {room:.1f} MB are free there: see that the "
                "disk has room and lets files grow"
            ) from error
        draft.rename(final)
        sync_folder(self._folder)
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old)
        return final

    def load_latest(self, policy: Policy) -> NodeState | None:
        """Restores the newest checkpoint into `policy`; None when there is none. Raises CheckpointError."""
        if not (found := self._all()):
            return None
        newest = found[-1]
        try:
            require_plain_files(newest)
            state = _read_state(read_json(newest / STATE), round_of(newest))
            policy.load(newest / POLICY)
        except Exception as error:  # the formats' readers fail on damaged files in ways of their own
            raise CheckpointError(self.advice(newest, error)) from error
        return state

    def advice(self, checkpoint: Path, error: Exception) -> str:
        """What to do about a checkpoint that cannot be read."""
        older = [path for path in self._all() if path != checkpoint]
        way = f"{older[-1].name} is older" if older else "there is no older one, so start a new run"
        return f"{checkpoint} cannot be read ({brief(error)}): move it away; {way}"

    def newest(self) -> int | None:
        """The round of the newest checkpoint; None when there is none."""
        return round_of(found[-1]) if (found := self._all()) else None

    def find(self, round_number: int | None = None) -> Path:
        """The checkpoint of a round, the best one among them, by default the newest.

        Raises NoSuchRound with those that there are, CheckpointError where there is none.
        """
        found = [path for path in self._all() if (path / STATE).is_file()]
        if not found:
            raise CheckpointError(
                f"{self._folder} holds no checkpoint yet: a run writes one every checkpoint.every rounds, on Ctrl-C "
                "and at its end"
            )
        if round_number is None:
            return found[-1]
        found = [*checkpoints_in(self._folder, "best"), *found]
        if wanted := [path for path in found if round_of(path) == round_number]:
            return wanted[-1]
        kept = ", ".join(map(str, sorted({round_of(path) for path in found})))
        raise NoSuchRound(
            f"{self._folder} holds no checkpoint of round {round_number}, only of {kept}; checkpoint.keep says how "
            "many are kept"
        )

    def _all(self) -> list[Path]:
        """Those that lost a file too: a name was given to whole ones alone, so that is damage, to be told."""
        return [path for path in checkpoints_in(self._folder, "round") if path.is_dir()]


def checkpoint_name(kind: Kind, round_number: int) -> str:
    """`round-00000005`, or `best-00000005`."""
    return f"{kind}-{round_number:08d}"


def checkpoints_in(folder: Path, kind: Kind) -> list[Path]:
    """What has the name of a checkpoint of this kind, oldest first."""
    return sorted(folder.glob(f"{kind}-{'[0-9]' * 8}"))


def round_of(checkpoint: Path) -> int:
    """The round after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def sync_tree(folder: Path) -> None:
    """Forces every file of a finished draft to disk before its name becomes visible."""
    for path in [*folder.rglob("*")]:
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_state(data: Any, round_number: int) -> NodeState:
    """Raises ValueError for a format that is not read, TypeError for fields that are not those of its format.

    The round has to be that of the folder's name: a copy under another name would be trained on from a wrong place.
    """
    if not isinstance(data, dict):
        raise TypeError("it holds no state of a run")
    state: dict[str, Any] = data
    written = state.get("format")
    if written != FORMAT and written not in RENAMED:
        raise ValueError(f"format {written}, this murmur reads {FORMAT}")
    if state.get("round") != round_number:
        raise ValueError(f"its state is that of round {state.get('round')}")
    names = RENAMED.get(written, {})
    return NodeState(**{names.get(name, name): value for name, value in state.items()} | {"format": FORMAT})
