"""The shape of a model in bytes, from its configuration alone: its layers run on tensors that hold no numbers.

torch's fake tensors go through the model's own code, so that what a token leaves behind for the backward pass is
counted for any architecture, and not looked up.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from peft import PeftModel, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from policies.error_words import brief
from policies.policy import PolicyError
from policies.text.engine.memory_plan import widest_of
from policies.text.engine.probe import FOREIGN
from policies.text.loading.library_errors import as_policy_error
from policies.text.lora import lora_config
from policies.text.settings import ModelSettings
from policies.text.token_budget import GUESSED_TENSORS

SHORT, LONG = 32, 96  # tokens of the two passes whose difference is what a token takes


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts of a model's numbers, and bytes of what its passes leave behind."""

    numbers: int  # of the model itself
    packable: int  # of them, in linear layers that QLoRA holds in four bits
    itemsize: int  # of the model's own weights
    trained_numbers: int
    trained_itemsize: int
    adapter_bytes: int  # of adapters, which lie beside the model's own weights
    kept: float  # bytes that a token leaves behind for the backward pass
    kept_once: float  # bytes that a pass leaves behind whatever its length: weights in autocast's type
    layers: int
    hidden: int
    widest: int  # numbers of a token inside a layer at its widest
    heads: int
    vocabulary: int
    states: int  # numbers of one token's keys and values in all layers
    trains_head: bool
    tied: bool  # head and embedding are one
    guessed: bool  # whether `kept` is a guess


def shape_of(config: PretrainedConfig, settings: ModelSettings, *, autocast: bool = False) -> Shape:
    """Raises PolicyError where the library cannot make a model of `config`, or no adapter fits it."""
    dtype = getattr(torch, settings.dtype)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            try:
                plain: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
            except FOREIGN as error:
                raise PolicyError(f"no model can be made of its configuration: {brief(error)}") from error
            model = _adapted(plain, settings)
        stack.enter_context(FakeTensorMode())
        _fill_with_fakes(model)
        numbers = sum(p.numel() for name, p in plain.named_parameters() if not _is_added(name))
        packable = _packable(plain)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        adapters = [p for name, p in model.named_parameters() if _is_added(name)]
        kept, once, guessed = _kept(model, plain, autocast=autocast)
        text = config.get_text_config()
        head = plain.get_output_embeddings()
        return Shape(
            numbers=numbers,
            packable=packable,
            itemsize=dtype.itemsize,
            trained_numbers=sum(parameter.numel() for parameter in trained),
            trained_itemsize=max((p.element_size() for p in trained), default=dtype.itemsize),
            adapter_bytes=sum(parameter.nbytes for parameter in adapters),
            kept=kept,
            kept_once=once,
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            widest=widest_of(text),
            heads=getattr(text, "num_attention_heads", 0) or 0,
            vocabulary=text.vocab_size,
            states=_states(plain),
            trains_head=any(p.requires_grad for p in head.parameters()) if head is not None else False,
            tied=head is not None
            and getattr(head, "weight", None) is getattr(plain.get_input_embeddings(), "weight", None),
            guessed=guessed,
        )


def _is_added(name: str) -> bool:
    """Whether a parameter of this name came with an adapter."""
    return "lora_" in name or "modules_to_save" in name


def _packable(model: PreTrainedModel) -> int:
    head = model.get_output_embeddings()
    layers = [
        (name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head
    ]
    return sum(layer.weight.numel() for name, layer in layers if not _is_added(f"{name}."))


def _adapted(model: PreTrainedModel, settings: ModelSettings) -> PreTrainedModel | PeftModel:
    if settings.lora is None:
        return model
    with as_policy_error("no adapter for this model", "name its layers in lora.target_modules"):
        return get_peft_model(model, lora_config(settings.lora))


def _fill_with_fakes(model: torch.nn.Module) -> None:
    """Every parameter and buffer as a fake tensor of the CPU, whose kernels are those that a pass would take."""
    made: dict[int, torch.nn.Parameter] = {}  # tied weights stay tied
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fake = torch.empty(weight.shape, dtype=weight.dtype)
                new = torch.nn.Parameter(fake, requires_grad=weight.requires_grad)
                module._parameters[name] = made.setdefault(id(weight), new)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _kept(
    model: PreTrainedModel | PeftModel, plain: PreTrainedModel, *, autocast: bool
) -> tuple[float, float, bool]:
    """Bytes a token and bytes a pass, and whether they are guessed."""
    plain.train()
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            short, long = (_pass_bytes(plain, tokens, own) for tokens in (SHORT, LONG))
    except FOREIGN:
        config = plain.config.get_text_config()
        size = GUESSED_TENSORS * config.num_hidden_layers * config.hidden_size * plain.dtype.itemsize
        return float(size), 0.0, True
    slope = (long - short) / (LONG - SHORT)
    return slope, max(0.0, short - slope * SHORT), False


def _pass_bytes(model: PreTrainedModel, tokens: int, own: set[int]) -> int:
    """Bytes that one pass over a row of `tokens` saves for its backward pass, weights left out."""
    saved: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage, storage.nbytes()  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    return sum(size for _, size in saved.values())


@torch.no_grad()
def _states(model: PreTrainedModel) -> int:
    """Numbers of a token's keys and values; a guess where some layers keep other states."""
    config = model.config.get_text_config()
    cache = Cache(layers=[DynamicLayer() for _ in range(config.num_hidden_layers)])
    try:
        model.base_model(
            input_ids=torch.zeros(1, SHORT, dtype=torch.long), past_key_values=cache, use_cache=True
        )
        return int(sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)) // SHORT
    except FOREIGN:
        return int(2 * config.num_hidden_layers * config.hidden_size)
