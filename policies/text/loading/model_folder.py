"""Checks of a local model folder, before any library reads it: each fault has words of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING

from policies.error_words import brief
from policies.plain_files import read_json, require_plain_files
from policies.policy import PolicyError
from policies.text.loading.library_errors import damaged

CONFIG, INDEX, ADAPTER = "config.json", "model.safetensors.index.json", "adapter_config.json"
WEIGHTS = "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json"),
    *("sentencepiece.bpe.model", "*.tiktoken"),
)
LFS_POINTER = b"version https://git-lfs"


def check_folder(folder: Path) -> None:
    """Raises PolicyError, with what to do, for a folder that no text policy can start from."""
    check_is_model(folder)
    try:
        require_plain_files(folder)  # libraries open more of them than are looked at below
    except OSError as error:
        raise PolicyError(f"cannot load {folder}: {brief(error)}") from None
    _check_config(folder)
    _check_weights(folder)
    if not any(any(folder.glob(name)) for name in TOKENIZERS):
        raise PolicyError(
            f"cannot load {folder}: it holds no tokenizer; copy tokenizer.json and tokenizer_config.json into it "
            "from the model that it was made from"
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            _read_json(folder / name)


def check_is_model(folder: Path) -> None:
    """Raises PolicyError, with what may be meant, for a folder of an adapter, of GGUF files or of folders."""
    # Of a folder with an adapter beside a model, transformers would load the adapter's base, perhaps from the hub.
    if not (folder / CONFIG).is_file() or (folder / ADAPTER).is_file():
        raise PolicyError(_without_config(folder))


def _without_config(folder: Path) -> str:
    if (folder / ADAPTER).is_file():
        base = _read_json(folder / ADAPTER).get("base_model_name_or_path") or "the model it was trained on"
        return (
            f"cannot load {folder}: it is an adapter, not a model. Set model.path to its base ({base}) and "
            f"model.adapter to {folder}; of a folder that holds a whole model too, move {ADAPTER} away"
        )
    ggufs = sorted(file.name for file in folder.glob("*.gguf"))
    if ggufs:
        return f"cannot load {folder}: give the GGUF file itself, such as {folder / ggufs[0]}"
    inner = sorted(file.parent.name for file in folder.glob(f"*/{CONFIG}"))
    where = f"; perhaps {folder / inner[0]} is meant" if inner else ""
    return f"cannot load {folder}: it holds no {CONFIG}, so it is no model folder{where}"


def _check_config(folder: Path) -> None:
    config = _read_json(folder / CONFIG)
    kind = config.get("model_type")
    if kind in CONFIG_MAPPING:
        return
    if "auto_map" in config:
        raise PolicyError(
            f"cannot load {folder}: it needs code from its repository, which is never run; choose a model that "
            "transformers knows"
        )
    if not kind:
        raise PolicyError(
            f"cannot load {folder}: {CONFIG} names no model_type; take it from the publisher again"
        )
    raise PolicyError(
        f"cannot load {folder}: its model_type {kind!r} is unknown to the installed transformers; correct it in "
        f"{CONFIG}, or choose another model"
    )


def _check_weights(folder: Path) -> None:
    files = [folder / WEIGHTS]
    if not files[0].is_file() and (folder / INDEX).is_file():
        files = _shards(folder)
    elif not files[0].is_file():
        raise PolicyError(_without_weights(folder))
    for file in files:
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                raise PolicyError(
                    f"cannot load {folder}: {file.name} is only a pointer to the file; get it with: git lfs pull"
                )
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise damaged(file, error) from error


def _shards(folder: Path) -> list[Path]:
    names = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise PolicyError(f"cannot load {folder}: {INDEX} lists no weights; copy or download that file again")
    files = [folder / name for name in sorted({str(name) for name in names.values()})]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise PolicyError(
            f"cannot load {folder}: {len(missing)} of its {len(files)} weight files are missing "
            f"({', '.join(missing[:3])}); copy or download them"
        )
    return files


def _without_weights(folder: Path) -> str:
    if any(any(folder.glob(pattern)) for pattern in PICKLED):
        return (
            f"{folder} holds no .safetensors weights. Pickled weights (.bin, .pt) can run code when they are "
            "read and are refused; save the model again with save_pretrained to convert it"
        )
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if others:
        return (
            f"cannot load {folder}: it has {others[0]}, but neither {WEIGHTS} nor {INDEX}, which says how the files "
            "belong together; copy or download what is missing"
        )
    return f"cannot load {folder}: it holds no weights ({WEIGHTS}); copy or download them"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        read = read_json(file)
        if not isinstance(read, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise damaged(file, error) from error
    return read
