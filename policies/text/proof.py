"""Proofs that what samples and what scores is the model itself, kept so that a later start need not compare again.

Before its first rollout a policy compares them with plain forward passes: dozens, most of a start. The outcome is a
matter of model, code and processor, and its key holds all of these. Only outcomes of the best way are kept: whoever
takes a slower one compares at every start, and says why. The watch over every update, which compares sampler and
trainer on real rollouts, makes a proof that it contradicts forgotten.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from peft import PeftModel

from policies.error_words import brief
from policies.local_cache import store_folder
from policies.plain_files import read_json
from policies.text.engine import EngineProof
from policies.text.loading.weights import plain_model
from policies.text.scoring import TrainerProof
from policies.text.settings import TextSettings

logger = logging.getLogger(__name__)

LIBRARIES = ("accelerate", "peft", "torch", "transformers", "trl")
# Beginnings of environment variables.
CHOOSES_CODE = ("ATEN_", "DNNL_", "KMP_", "MKL_", "OMP_", "ONEDNN_", "TORCH_")
FILE = "proof.json"


@dataclass(frozen=True, slots=True)
class Proof:
    """None where a part has to be compared at every start."""

    engine: EngineProof | None
    trainer: TrainerProof | None


class Proofs:
    """The proof of one model under one folder, which may be removed at any time."""

    def __init__(self, root: Path, model: torch.nn.Module, settings: TextSettings) -> None:
        """`model`: with its adapter, before anything is wrapped round its forward pass."""
        self._folder = root / f"proof-{_key(model, settings)}"

    def read(self) -> Proof | None:
        """None where there is none, or it is damaged."""
        try:
            found = read_json(self._folder / FILE)
            engine, trainer = found["engine"], found["trainer"]
            return Proof(engine and EngineProof(**engine), trainer and TrainerProof(**trainer))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s): the model is compared again", self._folder, brief(error))
            self.forget()
            return None

    def keep(self, proof: Proof) -> None:
        """Without room or leave to write nothing is kept, and the next start compares again."""
        text = json.dumps(asdict(proof))
        try:
            store_folder(self._folder, lambda folder: (folder / FILE).write_text(text, encoding="utf-8"))
        except OSError as error:
            logger.info("what the comparisons have shown is not kept: %s", brief(error))

    def forget(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _key(model: torch.nn.Module, settings: TextSettings) -> str:
    """Thirty-two hex digits over all that decides the outcome."""
    digest = hashlib.sha256()
    for part in (*_machine(), *_code(model), *_model(model), *_choices(settings)):
        digest.update(f"{part}\n".encode())
    return digest.hexdigest()[:32]


def _machine() -> Iterator[str]:
    yield f"{platform.machine()} {platform.python_version()} {torch.cpu.get_capabilities()}"
    yield f"{torch.get_num_threads()} {torch.get_float32_matmul_precision()} {torch.backends.mkldnn.enabled}"
    if torch.cuda.is_available():
        yield f"{torch.cuda.get_device_properties(torch.cuda.current_device())}"
    yield from (
        f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(CHOOSES_CODE)
    )


def _code(model: torch.nn.Module) -> Iterator[str]:
    """The libraries by their versions, and by their text what is changed by hand most: our own and the model's."""
    yield from (f"{name} {version(name)}" for name in LIBRARIES)
    classes = {kind for module in model.modules() for kind in type(module).__mro__}
    modules = {sys.modules[kind.__module__] for kind in classes}
    files = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    for file in sorted(files | set(Path(__file__).parent.rglob("*.py"))):
        yield hashlib.sha256(file.read_bytes()).hexdigest()


def _model(model: torch.nn.Module) -> Iterator[str]:
    """Its form and a sum over each tensor; of what an adapter adds its form, as comparisons move its weights."""
    yield repr(model)
    yield plain_model(model).config.to_json_string()
    if isinstance(model, PeftModel):
        yield json.dumps({name: c.to_dict() for name, c in model.peft_config.items()}, default=_in_order)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        value = "" if "lora_" in name else _sum(tensor)
        yield f"{name} {tuple(tensor.shape)} {tensor.dtype} {tensor.device} {tensor.requires_grad} {value}"


def _in_order(value: object) -> object:
    """A set comes in another order in every process."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _sum(tensor: torch.Tensor) -> int:
    """Over its bits, eight bytes at a time: no single change escapes it. Where the tensor lies."""
    held = tensor.detach().contiguous().flatten().view(torch.uint8)
    whole = held.numel() % 8 == 0 and held.storage_offset() % 8 == 0
    return int((held.view(torch.int64) if whole else held).sum())


def _choices(settings: TextSettings) -> Iterator[str]:
    """Settings that the comparisons run under: all of an update's but its schedule's length, which is the run's."""
    yield settings.trainer.model_dump_json(exclude={"schedule_steps"})
    yield f"{settings.generation.temperature} {settings.arithmetic}"
