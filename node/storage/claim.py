"""A run folder while it is claimed by this process: locked, and taken away again where no run began in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node.config.schema import Config
from node.config.sections.policy import DiffusionPolicyConfig, EmbeddedPolicyConfig
from node.storage.checkpoint import Checkpoints
from node.storage.events import History
from node.storage.run_folder import HeldPlace, RunFolder, new_run_folder
from node.storage.store_file import StoreError
from policies.diffusion.settings import DigitsSource
from policies.local_cache import default_cache, require_room

# Hears, before anything is made, of the folder and of the act that takes it away: for signals, which do not unwind.
Guard = Callable[[RunFolder, Callable[[], None]], None]


@contextmanager
def claimed_new(
    run_dir: Path | None, stem: str, config: Config, secret: bytes, guard: Guard
) -> Iterator[tuple[RunFolder, Config]]:
    """A folder for a new run, made and locked, with the config as it is kept there; taken away unless the run began.

    Without `run_dir`: `runs/<stem>-<n>` with the next n that is free. Raises RunFolderError where a run is there or
    under way, OSError where the folder cannot be made, PolicyError as `check_cache` does.
    """
    check_cache(config)
    folder, undo = _named(run_dir, guard) if run_dir else _next_free(stem, guard)
    try:
        with folder.held() as held:
            if not held.config.exists():
                undo.arm(held.place)
            yield held, held.create(config, secret)
    finally:
        undo()


def check_cache(config: Config) -> None:
    """Raises PolicyError, before torch is imported, where the policy is made here, the first, and cannot be kept."""
    chosen = config.policy
    if isinstance(chosen, EmbeddedPolicyConfig):
        made = "embedded-*"
    elif isinstance(chosen, DiffusionPolicyConfig) and isinstance(chosen.source, DigitsSource):
        made = "digits-*"
    else:
        return
    if not any((cache := default_cache()).glob(made)):
        require_room(cache)


def _named(run_dir: Path, guard: Guard) -> tuple[RunFolder, Undo]:
    folder = RunFolder(run_dir)
    undo = Undo(folder, has_begun)
    guard(folder, undo)
    run_dir.mkdir(parents=True, exist_ok=True)
    return folder, undo


def _next_free(stem: str, guard: Guard) -> tuple[RunFolder, Undo]:
    """Made so that no other process can take it too."""
    while True:
        folder = new_run_folder(stem)
        undo = Undo(folder, has_begun)
        guard(folder, undo)
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.path.mkdir()
            return folder, undo


def has_begun(folder: RunFolder) -> bool:
    """Whether a run told of its start there, or saved anything."""
    try:
        return bool(History(folder.events).life()) or Checkpoints(folder.checkpoints, 1).newest() is not None
    except StoreError:
        return True


class Undo:
    """Takes away what a start made of a folder: all that was not there before, and folders that were not."""

    def __init__(self, folder: RunFolder, begun: Callable[[RunFolder], bool]) -> None:
        self._folder, self._begun = folder, begun
        self._before = set(_entries(folder.path))
        self._missing = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
        self._armed = False
        self._place: HeldPlace | None = None

    def arm(self, place: HeldPlace | None) -> None:
        """From now on the folder is this process's alone: locked, and without a run of before."""
        self._armed, self._place = True, place

    def __call__(self) -> None:
        if self._place is not None and not self._place.is_here:
            return  # what lies there now is somebody else's
        if self._armed and not self._begun(self._folder):
            for name in set(_entries(self._folder.path)) - self._before:
                path = self._folder.path / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or not there
            for path in self._missing:
                path.rmdir()


def _entries(path: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [entry.name for entry in path.iterdir()]
    return []
