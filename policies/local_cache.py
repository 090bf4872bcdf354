"""The folder of what is made once on this machine, such as warm-started weights, and atomic writes into it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)


def default_cache() -> Path:
    """`murmuration` in the user's cache folder, as the XDG base directory specification places it.

    Raises OSError for an account that has none.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "murmuration"
    try:
        return Path.home() / ".cache" / "murmuration"
    except RuntimeError:  # an account without an entry, as containers have them
        raise OSError(
            "this account has no home folder: set HOME, or XDG_CACHE_HOME, to a folder that it may write"
        ) from None


def store_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """`write` fills `folder` whole or not at all: whoever is killed half way leaves a folder that nobody reads.

    Of several processes that make the same folder the first one stays. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        write(partial)
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        logger.info("%s was made by another process meanwhile", folder.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
