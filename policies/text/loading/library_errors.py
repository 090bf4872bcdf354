"""Library errors (transformers, huggingface_hub, safetensors, torch) as PolicyErrors that say what to do."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from policies.error_words import SHORTAGE, brief, chain, says
from policies.install_hints import install_packages
from policies.policy import PolicyError

logger = logging.getLogger(__name__)

FULL = ("No space left", "os error 28", "Disk quota exceeded")
# torch does not say why.
WRITE_FAILED = ("file write failed", "unexpected pos", "PytorchStreamWriter", "iostream error")


# The fault behind an error in words, with what to do; None where it is not one of the kinds that are looked for.
Diagnosis = Callable[[BaseException], str | None]


@contextmanager
def as_policy_error(what: str, advice: str = "", diagnosis: Diagnosis = lambda _: None) -> Iterator[None]:
    """Inside, whatever is raised becomes a PolicyError that begins with `what`; PolicyErrors pass.

    The advice is that of the error's kind where `diagnosis` or this module knows it, else `advice`. The trace goes
    to the log.
    """
    try:
        yield
    except PolicyError:
        raise
    except Exception as error:
        logger.info("%s", what, exc_info=True)
        said = _fault(error) or diagnosis(error) or _with_advice(brief(error), advice)
        raise PolicyError(f"{what}: {said}") from error


def _fault(error: BaseException) -> str | None:
    """What any step may meet, whatever it does: no room on disk or in memory, a package that is missing."""
    for one in chain(error):
        if (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)) or says(one, FULL):
            return "no space left on the disk; free some, or keep runs and caches on another one"
        if isinstance(one, OSError) and one.errno == errno.EFBIG:
            return "the disk or a limit allows no file of this size; put the run folder elsewhere"
        if isinstance(one, OSError) and one.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{brief(one)}; make the folder writable, or choose another"
        if isinstance(one, RuntimeError | OSError) and says(one, WRITE_FAILED):
            return f"the file could not be written in full ({brief(one)}); see whether the disk is full"
        if isinstance(one, MemoryError | torch.OutOfMemoryError) or says(one, SHORTAGE):
            return "not enough memory; choose a smaller model, or dtype = 'bfloat16' to halve its weights"
    # Not what the error was met beside: libraries try imports that they can do without.
    for met in (error, error.__cause__):
        if isinstance(met, ModuleNotFoundError) and met.name:
            return f"it needs the Python package {met.name}: {install_packages(met.name)}"
    return None


def damaged(file: Path, error: BaseException) -> PolicyError:
    """For a file that is not whole."""
    kind = "is cut or damaged" if isinstance(error, SafetensorError) else "cannot be read"
    return PolicyError(
        f"cannot load {file.parent}: {file.name} {kind} ({brief(error)}); copy or download that file again"
    )


def _with_advice(said: str, advice: str) -> str:
    return f"{said}; {advice}" if advice else said
