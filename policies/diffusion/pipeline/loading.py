"""Loading of diffusers pipelines: safetensors and known libraries only, so that nothing loaded can run code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from policies.diffusion.pipeline.adapter import PipelineDenoiser
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.error_words import brief
from policies.install_hints import install_extras
from policies.load_report import whole_weights
from policies.policy import PolicyError

logger = logging.getLogger(__name__)

# What diffusers, the hub and safetensors raise on files that are missing, damaged, gated or of an unknown kind.
UNREADABLE = (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError, SafetensorError)
LIBRARIES = {"diffusers", "transformers"}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Parts that a pipeline can do without, and that a policy has no use for.
UNWANTED = ("safety_checker", "feature_extractor", "image_encoder")


def load_denoiser(settings: PipelineSettings, device: torch.device, seed: int = 0) -> PipelineDenoiser:
    """The pipeline as a policy's denoiser, with a fresh adapter drawn from `seed`. Raises PolicyError."""
    denoiser = PipelineDenoiser(load_pipeline(settings, device), settings, device, seed)
    logger.info("%s denoises %s in %d steps", settings.path, denoiser.latent_shape, settings.steps)
    return denoiser


def load_pipeline(settings: PipelineSettings, device: torch.device) -> Any:
    """A pipeline in eval mode, text encoders in CPU memory, all else on `device`.

    Raises PolicyError, with the fix, for anything that is missing, unreachable or refused.
    """
    diffusers = _diffusers()
    try:
        index = diffusers.DiffusionPipeline.load_config(settings.path)
        _refuse_foreign(index, settings.path)
        safe = {"use_safetensors": True, "trust_remote_code": False, **_left_out(index)}
        folder = Path(settings.path)
        if not folder.is_dir():
            folder = Path(diffusers.DiffusionPipeline.download(settings.path, **safe))
        _refuse_files(folder, index)
        dtype = getattr(torch, settings.dtype)
        with whole_weights(settings.path):
            pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=dtype, **safe)
    except UNREADABLE as error:
        raise PolicyError(_explain(settings.path, error)) from error
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            part.eval()
            if not name.startswith("text_encoder"):
                part.to(device)
    return pipe


def _refuse_foreign(index: Mapping[str, Any], path: str) -> None:
    """Raises PolicyError when an index names a pipeline or part that is not of diffusers or transformers.

    diffusers would import whichever module the index names.
    """
    import diffusers

    named = index.get("_class_name")
    if not isinstance(named, str) or not hasattr(diffusers, named):
        raise PolicyError(
            f"{path} is a pipeline of its own ({named}), and code from a repository is never run"
        )
    for part, origin in index.items():
        if part in UNWANTED or part.startswith("_") or not isinstance(origin, list):
            continue
        library = origin[0]
        if library is not None and library not in LIBRARIES:
            raise PolicyError(
                f"{path} takes its {part} from {library}, and only parts of diffusers and transformers are loaded: "
                "other code is never run"
            )


def _refuse_files(folder: Path, index: Mapping[str, Any]) -> None:
    """Raises PolicyError for code among a pipeline's files, and for parts whose only weights are pickled."""
    code = next(folder.rglob("*.py"), None)
    if code is not None:
        raise PolicyError(
            f"{folder} brings code of its own ({code.name}), which is never run: remove it to go on"
        )
    for part in index:
        if part in UNWANTED or any((folder / part).glob("*.safetensors")):
            continue
        pickled = [file for kind in PICKLES for file in (folder / part).glob(kind)]
        if pickled:
            raise PolicyError(
                f"{folder / part} holds only pickled weights ({pickled[0].name}), which can run code when they are "
                "read, and they are refused; save the pipeline again with save_pretrained to convert them"
            )


def _left_out(index: Mapping[str, Any]) -> dict[str, None]:
    return dict.fromkeys(name for name in UNWANTED if name in index)


def _diffusers() -> Any:
    # For each image processor it says that it took the plain one, as torchvision is not there.
    logging.getLogger("transformers.utils.import_utils").setLevel(logging.ERROR)
    try:
        import diffusers
    except ImportError as error:
        raise PolicyError(f"a diffusion policy needs diffusers: {install_extras('diffusion')}") from error
    # A node shows its own progress; bars for every part would cut through it.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    return diffusers


def _explain(path: str, error: Exception) -> str:
    """One sentence on what failed and one on what to do."""
    said = brief(error)
    if any(word in said.lower() for word in ("gated", "401", "403", "restricted")):
        return (
            f"the hub does not give out {path} to everyone: accept its licence at https://huggingface.co/{path}, "
            "then run `hf auth login` or set HF_TOKEN"
        )
    if "safetensors" in said and "no file named" in said:
        return f"{path} has no safetensors weights, and pickled ones, which can run code, are refused: {said}"
    return (
        f"cannot load {path}: {said}. Check the name; without network, download it elsewhere "
        "(hf download ID --local-dir FOLDER) and give the folder"
    )
