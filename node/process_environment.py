"""The surroundings of a process that would lead its libraries astray: put right, or told, before they are loaded."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path

# Of torchrun, accelerate, MPI and their like. By them accelerate waits for processes that never come, or trains in a
# precision that no config names: a node trains in one process, and its config says how.
LAUNCHERS = frozenset({
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("ROLE_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    *("MPI_LOCALNRANKS", "CCL_WORKER_COUNT"),
})  # fmt: skip
LAUNCHER_FAMILIES = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
# Whose values libraries read as they are loaded.
LIBRARY_FAMILIES = (
    *("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TRL_", "DATASETS_", "SAFETENSORS_", "TORCH", "PYTORCH_"),
    *("TRITON_", "CUDA_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "NUMPY_", "ARROW_", "WANDB_"),
)
# Addresses, not memory: a small node takes 3 GB of them, and torch's libraries end without a word where there are none.
WANTED_ADDRESSES = 8 * 10**9

_ignored: list[str] = []
_set_for_libraries: list[str] = []


def clear_launcher_variables() -> None:
    """Takes what a launcher of several processes set out of this process's environment; see `environment_notices`.

    Before this program and its libraries set variables of their own.
    """
    for name in sorted(os.environ):
        if name.startswith(LIBRARY_FAMILIES):
            _set_for_libraries.append(f"{name}={os.environ[name]}")
        if name in LAUNCHERS or name.startswith(LAUNCHER_FAMILIES):
            _ignored.append(f"{name}={os.environ.pop(name)}")


def environment_notices() -> list[str]:
    """Lines for whoever starts to train: what is otherwise here than elsewhere."""
    lines = []
    if _ignored:
        lines.append(
            f"a node trains in one process, as its config says: not heeded here {_few(_ignored)}, "
            "as a launcher of several processes sets"
        )
    from policies.hardware import address_limit

    limit = address_limit()
    if limit is not None and limit < WANTED_ADDRESSES:
        lines.append(
            f"this process may take {limit / 1e9:.1f} GB of addresses (ulimit -v {limit // 1024}), and libraries may "
            "end without a word where those are short: lift it by `ulimit -v unlimited`"
        )
    return lines


def require_docstrings() -> None:
    """Raises OSError where the interpreter was told to drop them: transformers makes classes from its own."""
    if sys.flags.optimize > 1:
        raise OSError(
            "this Python drops docstrings (-OO, PYTHONOPTIMIZE=2), which transformers reads: unset PYTHONOPTIMIZE"
        )


def loads_library(error: BaseException) -> bool:
    """Whether it came out of a library's module as that was loaded, from whatever was raised there."""
    libraries = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib", "stdlib")}
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "<module>" and libraries & set(Path(code.co_filename).resolve().parents):
            return True
        trace = trace.tb_next
    return False


def set_for_libraries(said: str) -> str:
    """`HF_HUB_ETAG_TIMEOUT=x`, of what was set here for libraries: what an error names, else all of it."""
    named = [pair for pair in _set_for_libraries if _stands_in(pair.partition("=")[2], said)]
    return _few(named or _set_for_libraries)


def _stands_in(value: str, said: str) -> bool:
    """As a whole word: the 1 of a number of threads is in many a message."""
    return bool(value) and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", said) is not None


def _few(named: list[str]) -> str:
    """As many as a line holds."""
    rest = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return ", ".join(named[:6]) + rest
