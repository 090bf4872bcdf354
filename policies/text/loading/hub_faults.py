"""Faults of a hub id in words, and the question whether the hub has it. Loads neither torch nor transformers."""

from __future__ import annotations

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from policies.error_words import chain, says
from policies.policy import PolicyError

ASKING = 10.0  # seconds that the hub has to answer
UNREACHABLE = (
    "couldn't connect",
    "offline mode",
    "Connection error",
    "Max retries",
    "Name or service not known",
)


def check_on_hub(path: str) -> None:
    """Raises PolicyError for a hub id that is neither in the cache nor on the hub. Other faults are left to a load."""
    try:
        if not isinstance(try_to_load_from_cache(path, "config.json"), str):
            HfApi().model_info(path, timeout=ASKING)
    except Exception as error:  # of whatever client the library asks by, which changes with its versions
        if said := hub_fault(path, error):
            raise PolicyError(f"cannot load {path}: {said}") from error


def hub_fault(path: str, error: BaseException) -> str | None:
    """What is wrong with a hub id, and what to do; None where the fault is another one."""
    found = list(chain(error))
    page = f"https://huggingface.co/{path}"
    if any(isinstance(one, GatedRepoError) for one in found):
        return f"its publisher asks for consent: accept the terms at {page}, then log in with: hf auth login"
    if any(isinstance(one, RepositoryNotFoundError) for one in found):
        return (
            "there is no folder of this name here, and no such repository on the hub (or it is private): check the "
            "name, or log in with: hf auth login"
        )
    if any(isinstance(one, HFValidationError) for one in found):
        return "there is no such folder or file here, and it is not a hub id of the form owner/name: check the path"
    unreachable = (OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError, TimeoutError)
    if any(isinstance(one, unreachable) or says(one, UNREACHABLE) for one in found):
        return (
            "there is no folder of this name here, and the hub cannot be reached. Check the name; without network, "
            f"download it elsewhere (hf download {path} --local-dir FOLDER) and give the folder"
        )
    return None
