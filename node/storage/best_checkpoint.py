"""The checkpoint with the best held-out evaluation, kept beside the newest ones (`checkpoint.keep_best`)."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node.config.sections.checkpoint import BestBy
from node.storage.checkpoint import checkpoint_name, checkpoints_in, round_of, sync_folder, sync_tree
from node.storage.events import EvaluationEvent
from node.storage.run_folder import naming
from policies.plain_files import read_object

EVALUATION = "evaluation.json"


def keep_if_best(checkpoint: Path, evaluation: EvaluationEvent, by: BestBy = "reward") -> bool:
    """Keeps a checkpoint as `best-<round>` if its evaluation beats the one that is kept; of equals the older stays.

    One that was kept by another figure than `by`, before a resumed run chose this one, gives way. Files are shared with
    the checkpoint's, which nothing changes. Raises OSError.
    """
    folder = checkpoint.parent
    best, figures = find_best(folder), asdict(evaluation)
    if best is not None and _facts(best).get("by") == by and value_of(best) >= (figures[by] or 0.0):
        return False
    final = folder / checkpoint_name("best", round_of(checkpoint))
    draft = folder / f".draft-{final.name}"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(checkpoint, draft, copy_function=_share)
    with naming(draft / EVALUATION):
        (draft / EVALUATION).write_text(json.dumps({"by": by, **figures}) + "\n", encoding="utf-8")
    sync_tree(draft)
    if final.exists():  # a round that a resumed run played again
        shutil.rmtree(final)
    draft.rename(final)
    sync_folder(folder)
    for old in checkpoints_in(folder, "best"):
        if old != final:
            shutil.rmtree(old)
    return True


def find_best(folder: Path) -> Path | None:
    """The best checkpoint among those in `folder`; None where none was kept."""
    return max(checkpoints_in(folder, "best"), key=value_of, default=None)


def value_of(best: Path) -> float:
    """Figure of the evaluation that a best checkpoint was kept for; below any where its file is damaged."""
    facts = _facts(best)
    try:
        value = float(facts[facts["by"]] or 0.0)
    except (ValueError, TypeError, KeyError, OverflowError):
        return float("-inf")
    return value if math.isfinite(value) else float("-inf")


def _facts(best: Path) -> dict[str, Any]:
    """Empty where they are damaged. Before `by` was kept, it was the reward."""
    read = read_object(best / EVALUATION)
    return {"by": "reward", **read} if read else {}


def _share(source: str, target: str) -> str:
    """A second name for the same file, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
