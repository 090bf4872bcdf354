"""The commit of the hub that a model is of, so that a run that is resumed meets the same weights."""

from __future__ import annotations

import re
from pathlib import Path

from policies.text.loading.model_path import is_gguf

COMMIT = re.compile(r"[0-9a-f]{40}")


def commit_of(path: str, revision: str | None) -> str | None:
    """The commit that `revision` names on the hub today; None for what is no repository, or cannot be reached.

    Without network it is the one in the cache. A load says what is wrong with a name.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    if ":" in path or Path(path).is_absolute() or is_gguf(path) or Path(path).exists():
        return None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        file = hf_hub_download(path, "config.json", revision=revision)
    except (HfHubHTTPError, OSError, ValueError):
        return None
    found = Path(file).parent.name
    return found if COMMIT.fullmatch(found) else None
