"""The file of a saved policy that holds all but its weights: optimiser, version, and the fingerprint they belong to."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from policies.error_words import brief
from policies.policy import PolicyError

PROGRESS_FILE = "progress.pt"
# What torch's reader raises on damaged bytes, beside its own errors.
DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    UnpicklingError,
    struct.error,  # a number that is cut off
)
_KEYS = {"trainer", "version", "fingerprint"}


def save_progress(folder: Path, trainer: dict[str, Any], version: int, fingerprint: str) -> None:
    """Writes `trainer`, plain containers of tensors and numbers, into an existing folder. Raises OSError."""
    progress = {"trainer": trainer, "version": version, "fingerprint": fingerprint}
    torch.save(progress, folder / PROGRESS_FILE)


def read_progress(folder: Path, fingerprint: str) -> tuple[dict[str, Any], int]:
    """What `save_progress` was given of the trainer, and the version. Nothing but tensors and plain values is read.

    Raises PolicyError for a file that is missing, torn or of a policy of another fingerprint.
    """
    file = folder / PROGRESS_FILE
    try:
        with warnings.catch_warnings():  # torch warns of bytes that it then refuses
            warnings.simplefilter("ignore", UserWarning)
            progress: Any = torch.load(file, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise PolicyError(
            f"{file} cannot be read ({brief(error)}); resume from another checkpoint"
        ) from error
    if not isinstance(progress, dict) or not progress.keys() >= _KEYS:
        raise PolicyError(f"{file} is not the progress of a policy; resume from another checkpoint")
    if progress["fingerprint"] != fingerprint:
        raise PolicyError(
            f"{folder} was saved by {progress['fingerprint']}, this policy is {fingerprint}; "
            "resume with the configuration that wrote it"
        )
    return progress["trainer"], progress["version"]
