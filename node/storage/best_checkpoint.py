"""The checkpoint with the best held-out evaluation, kept beside the newest ones (`checkpoint.keep_best`)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from node.storage.checkpoint import round_of, sync_folder, sync_tree
from node.storage.events import EvaluationEvent

EVALUATION = "evaluation.json"


def keep_if_best(checkpoint: Path, evaluation: EvaluationEvent) -> bool:
    """Keeps a checkpoint as `best-<round>` if its evaluation beats the one that is kept; of equals the older stays.

    Its files are shared with the checkpoint's, which nothing changes. Raises OSError.
    """
    folder = checkpoint.parent
    best = find_best(folder)
    if best is not None and reward_of(best) >= evaluation.reward:
        return False
    final = folder / f"best-{round_of(checkpoint):08d}"
    draft = folder / f".draft-{final.name}"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(checkpoint, draft, copy_function=_share)
    facts = {"reward": evaluation.reward, "rewards_by_task": evaluation.rewards_by_task}
    (draft / EVALUATION).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    sync_tree(draft)
    if final.exists():  # a round that a resumed run played again
        shutil.rmtree(final)
    draft.rename(final)
    sync_folder(folder)
    for old in _all(folder):
        if old != final:
            shutil.rmtree(old)
    return True


def find_best(folder: Path) -> Path | None:
    """The best checkpoint among those in `folder`; None where none was kept."""
    return max(_all(folder), key=reward_of, default=None)


def reward_of(best: Path) -> float:
    """Held-out reward that a best checkpoint was kept for; below any where its file is damaged."""
    try:
        return float(json.loads((best / EVALUATION).read_text(encoding="utf-8"))["reward"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return float("-inf")


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("best-" + "[0-9]" * 8))


def _share(source: str, target: str) -> str:
    """A second name for the same file, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
