"""A model's configuration, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig

from policies.text.loading.hub_faults import hub_fault
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.model_folder import check_is_model
from policies.text.loading.model_path import is_gguf, library_place, require_gguf_reader, resolve
from policies.text.loading.sizes import check_sizes
from policies.text.settings import ModelSettings


def read_configuration(settings: ModelSettings) -> Any:
    """The configuration alone, by the library's own class. Raises PolicyError where it cannot be had."""
    path = resolve(settings.path)
    where, named = library_place(path)
    if is_gguf(path):
        require_gguf_reader()
    else:
        named = {"revision": settings.revision} if settings.revision else {}
        if Path(path).is_dir():
            check_is_model(Path(path))
    with as_policy_error(
        f"cannot read the configuration of {settings.path}", "", lambda e: hub_fault(where, e)
    ):
        check_sizes(where, **named)
        return AutoConfig.from_pretrained(where, trust_remote_code=False, **named)
