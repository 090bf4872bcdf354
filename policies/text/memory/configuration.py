"""A model's configuration, without its weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from policies.install_hints import install_extras
from policies.policy import PolicyError
from policies.text.loading.hub_faults import hub_fault
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.model_folder import check_is_model
from policies.text.loading.model_path import resolve
from policies.text.loading.sizes import check_sizes
from policies.text.settings import ModelSettings


def read_configuration(settings: ModelSettings) -> Any:
    """The configuration alone, by the library's own class. Raises PolicyError where it cannot be had."""
    path = resolve(settings.path)
    named: dict[str, Any] = {"revision": settings.revision} if settings.revision else {}
    if path.lower().endswith(".gguf"):
        if find_spec("gguf") is None:
            raise PolicyError(f"reading a .gguf file needs the gguf package: {install_extras('gguf')}")
        file = Path(path)
        path, named = str(file.parent), {"gguf_file": file.name}
    elif Path(path).is_dir():
        check_is_model(Path(path))
    with as_policy_error(
        f"cannot read the configuration of {settings.path}", "", lambda e: hub_fault(path, e)
    ):
        check_sizes(path, **named)
        return AutoConfig.from_pretrained(path, trust_remote_code=False, **named)
