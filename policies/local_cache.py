"""The folder of what is made once on this machine, such as warm-started weights, and atomic writes into it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from policies.drafts import clear_all_drafts, draft_folder
from policies.error_words import brief
from policies.policy import PolicyError

logger = logging.getLogger(__name__)

ROOM = 4 * 2**20  # bytes; the largest network that is made here takes 2.4 MB


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


def require_room(cache: Path) -> None:
    """Before long work whose outcome is kept there: raises PolicyError where `cache` takes no network of ours."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache) as tried:  # has no name, so that no kill leaves it
            tried.write(bytes(ROOM))
            tried.flush()
    except OSError as error:
        raise PolicyError(
            f"the cache folder {cache} cannot be written ({error.strerror or brief(error)}): free some space there, "
            "make it writable, or set XDG_CACHE_HOME to another folder"
        ) from error


def store_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """`write` fills `folder` whole or not at all: whoever is killed half way leaves a folder that nobody reads.

    Of several processes that make the same folder the first one stays. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_all_drafts(folder.parent)  # a killed one's may be a whole model, of which no next one may come
    try:
        with draft_folder(folder) as draft:
            write(draft)
            draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        logger.info("%s was made by another process meanwhile", folder.name)
