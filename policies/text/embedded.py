"""The embedded default policy: a tiny model and its tokenizer, made on this machine and kept in a cache."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from policies.local_cache import default_cache, require_room, store_folder
from policies.tasks import EMBEDDED
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.plain_folder import read_plain
from policies.text.settings import EmbeddedSettings
from policies.text.tokenizer import build_tokenizer
from policies.text.warm_start import Progress, warm_start

# Raised when the architecture, the tokenizer or the training changes: older weights then stay unused.
RECIPE_VERSION = 1


def load_embedded(
    settings: EmbeddedSettings, cache: Path | None = None, progress: Progress | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a recipe, made now (some 30 s, with calls of `progress`) or read from `cache`; its tokenizer.

    Safe to call from several processes at once. Raises PolicyError when the cache cannot be used.
    """
    disable_progress_bar()
    tokenizer = build_tokenizer()
    root = default_cache() if cache is None else cache
    folder = root / f"embedded-{recipe_hash(settings)}"
    with as_policy_error(f"cannot use {folder}", "remove it, or make its parent folder writable"):
        if not folder.is_dir():
            require_room(folder.parent)
            made = warm_start(settings, tokenizer, progress)
            store_folder(folder, partial(_write, made, tokenizer))
        model = read_plain(folder)
    return model, tokenizer


def recipe_hash(settings: EmbeddedSettings) -> str:
    """Sixteen hex digits over all that decides the weights."""
    recipe = {
        "version": RECIPE_VERSION,
        "settings": settings.model_dump(),
        "tasks": [EMBEDDED[task].name for task in sorted(settings.skills)],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
