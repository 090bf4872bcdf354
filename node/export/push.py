"""`--push`: an exported folder as a repository of the Hugging Face hub, through its own library."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from node.export.errors import ExportError
from policies.text.loading.library_errors import as_policy_error


def require_push(repo: str, base: str | None) -> None:
    """`base`: what an adapter's configuration names. Raises ExportError and PolicyError where the push would fail."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ExportError(f"--push {repo}: the hub's repositories are named OWNER/NAME") from error
    if base is not None and Path(base).is_absolute():
        raise ExportError(
            f"the adapter names its base by a path of this machine ({base}), which nobody else has: add --merge, or "
            "train from a hub id"
        )
    if get_token() is None:
        raise ExportError("--push needs a token of the hub: hf auth login, or HF_TOKEN in the environment")
    with as_policy_error("the hub does not take the token", "hf auth login makes a new one"):
        HfApi().whoami()


def push_folder(folder: Path, repo: str, message: str) -> str:
    """Uploads `folder`, and gives the page of what was uploaded. A repository that is made for it is private.

    Raises PolicyError; the folder stays as it is.
    """
    with as_policy_error(
        f"{folder} is written and was not pushed", f"once that is mended: hf upload {repo} {folder}"
    ):
        api = HfApi()
        made = api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message)
        return str(made)
