"""Windows and lengths of a model's attention: what a probe must be longer than, and what a rollout must not pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel

# Attributes of configurations and layers that hold windows, in tokens. Those that are read anew in every pass can be
# narrowed for a probe; the others may have made tensors of their size.
NARROWED = ("sliding_window", "attention_chunk_size")
FIXED = ("window_size", "attention_window_size")
PROBED_WINDOW = 24  # a wider window is narrowed to this while the model is probed
WIDEST_FIXED = 512  # a window that cannot be narrowed is passed by probes up to this
LENGTH_DEPENDENT = ("longrope", "dynamic")


@contextmanager
def narrowed_windows(*models: PreTrainedModel) -> Iterator[None]:
    """Inside, the windows of `models` are narrow enough for a short text to pass them."""
    changed: list[tuple[Any, str, int]] = []
    for holder in (holder for model in models for holder in _holders(model)):
        for name in NARROWED:
            value = vars(holder).get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > PROBED_WINDOW:
                changed.append((holder, name, value))
                setattr(holder, name, PROBED_WINDOW)
    try:
        yield
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


def widest_window(model: PreTrainedModel) -> int:
    """Tokens of the widest window or chunk that a probe can pass; 0 where there is none."""
    config = model.config.get_text_config()
    found = [getattr(config, name, None) for name in (*NARROWED, *FIXED)]
    return max((w for w in found if isinstance(w, int) and w <= WIDEST_FIXED), default=0)


def sliding_window(model: PreTrainedModel) -> int | None:
    """The window that the configuration asks some layer to attend in, None where it asks for none."""
    config = model.config.get_text_config()
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if not isinstance(window, int) or getattr(config, "use_sliding_window", True) is False:
        return None
    return window if kinds is None or "sliding_attention" in kinds else None


def exact_length(model: PreTrainedModel) -> int | None:
    """Tokens of the longest sequence whose positions are rotated alike in any company; None: there is no limit.

    `longrope` and `dynamic` choose their frequencies by the longest sequence of a batch once it passes the length
    that the model was first trained at: earlier tokens were then computed otherwise than a later pass computes them.
    """
    config = model.config.get_text_config()
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    limits = [
        limit
        for kind in kinds
        if (kind.get("rope_type") or kind.get("type")) in LENGTH_DEPENDENT
        for limit in (kind.get("original_max_position_embeddings"), config.max_position_embeddings)
        if limit
    ]
    return min(limits, default=None)


def _holders(model: PreTrainedModel) -> list[Any]:
    """Every module and configuration of the model, each once."""
    modules = list(model.modules())
    configs = [model.config, model.config.get_text_config(), *(getattr(m, "config", None) for m in modules)]
    found = {id(holder): holder for holder in (*modules, *configs) if hasattr(holder, "__dict__")}
    return list(found.values())
