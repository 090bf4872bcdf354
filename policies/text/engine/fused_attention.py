"""The same attention by a GPU's fused kernels, which never write scores to memory.

What a rollout sees lies in two places, its prompt and what it wrote itself. A kernel gives for each of them the
attention to it alone and the logarithm of its summed weights, by which the two are added up exactly.

The kernel is torch's memory-efficient one, which takes a mask and gives that logarithm; flash attention takes no
mask, and flex attention has to be compiled anew for every shape. A cap on scores it cannot express.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import scaled_dot_product_attention

from policies.text.engine.cache import Pair, Terms

if TYPE_CHECKING:
    from policies.text.engine.attention import RolloutView

# Added to what a query does not see. Finite: a row that sees nothing of its prompt any more is no NaN.
HIDDEN = -1e30
ALIGNED = 16  # numbers between the rows of a mask, as the kernel reads them


def can_fuse(device: torch.device) -> bool:
    """Whether the kernels are there; on a CPU the products apart are faster."""
    return device.type == "cuda"


def is_expressible(terms: Terms) -> bool:
    return terms.softcap is None


def attend_causally(query: torch.Tensor, states: Pair, terms: Terms) -> torch.Tensor:
    """Whole prompts without padding: query (n, query heads, q, dim), states (n, heads, q, dim)."""
    length = query.shape[2]
    windowed = terms.window is not None and terms.window < length
    if not windowed and terms.sinks is None:
        # Heads that share keys are known to the flash kernel alone, which takes no float32.
        states = states if query.dtype != torch.float32 else _for_each_head(query, states)
        return scaled_dot_product_attention(
            query, *states, is_causal=True, scale=terms.scaling, enable_gqa=query.dtype != torch.float32
        )
    places = torch.arange(length, device=query.device)
    visible = places[None, :] <= places[:, None]
    if terms.window is not None:
        visible &= places[None, :] > places[:, None] - terms.window
    bias = _bias(visible, query.dtype)[None, None]
    out, logs = attention_and_logs(query, _for_each_head(query, states), bias, terms.scaling)
    if terms.sinks is None:
        return out
    return _sunk(out, logs, terms.sinks.to(logs.dtype)[None, :, None])


def attend(view: RolloutView, layer: int, query: torch.Tensor, states: Pair, terms: Terms) -> torch.Tensor:
    """As `RolloutView.attend`."""
    n, query_heads, places, dim = query.shape
    heads = states[0].shape[1]
    packed = query.reshape(n, heads, -1, dim)
    biases = _biases(view, terms.window, query_heads // heads, query.dtype)
    kept = view.shared(layer)
    shared = kept if terms.expand is None else terms.expand(*kept)
    grid = attention_and_logs(view.in_grid(packed), shared, biases[0], terms.scaling)
    out, logs = (view.in_rows(part) for part in (grid[0], grid[1][..., None]))
    own_out, own_logs = attention_and_logs(packed, states, biases[1], terms.scaling)
    own = own_logs[..., None]
    added = torch.lerp(own_out, out, torch.sigmoid(logs - own).to(out.dtype))
    if terms.sinks is not None:
        sinks = terms.sinks.to(own.dtype).view(1, heads, -1, 1).expand(-1, -1, -1, places)
        added = _sunk(added, torch.logaddexp(logs, own)[..., 0], sinks.reshape(1, heads, -1))
    return added.reshape(n, query_heads, places, -1)


def attention_and_logs(query: torch.Tensor, states: Pair, bias: torch.Tensor, scaling: float) -> Pair:
    """Attention of query (n, h, q, dim) to states (n, h, k, dim), and the log of the sum of its weights (n, h, q).

    `bias` (n or 1, 1, q, k) is added to the scores.
    """
    bias = bias.expand(len(query), query.shape[1], -1, -1)
    if query.device.type == "cpu":
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, *states, attn_mask=bias, scale=scaling
        )
    else:
        found = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, *states, bias, compute_log_sumexp=True, scale=scaling
        )
    out, logs = found[:2]
    return out, logs[..., : query.shape[2]]  # CUDA's are padded


def _biases(view: RolloutView, window: int | None, sharing: int, dtype: torch.dtype) -> Pair:
    """Of the prompts' part (prompts, 1, queries of all slots, places) and of the rows' own (n, 1, queries, places).

    Made once a pass for each kind of layer; `sharing`: query heads that share keys, which become further queries.
    """
    kept = view.fused_biases.get((window, sharing))
    if kept is None:
        visible = view.visible(window)[:, None].expand(-1, sharing, -1, -1).flatten(1, 2)[:, None]
        shared = _bias(view.in_grid(visible[..., : view.prompt_width]), dtype)
        kept = shared, _bias(visible[..., view.prompt_width :], dtype)
        view.fused_biases[window, sharing] = kept
    return kept


def _bias(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where `visible` (..., k), else HIDDEN."""
    *rows, keys = visible.shape
    bias = torch.zeros(*rows, -(-keys // ALIGNED) * ALIGNED, dtype=dtype, device=visible.device)[..., :keys]
    return bias.masked_fill_(~visible, HIDDEN)


def _for_each_head(query: torch.Tensor, states: Pair) -> Pair:
    """Keys and values once for every query head that shares them."""
    sharing = query.shape[1] // states[0].shape[1]
    keys, values = (x.repeat_interleave(sharing, dim=1) if sharing > 1 else x for x in states)
    return keys, values


def _sunk(out: torch.Tensor, logs: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
    """What is left of `out` (n, h, q, dim) where `sinks` take their share of the weights; `logs` are of (n, h, q)."""
    return out * torch.sigmoid(logs - sinks).to(out.dtype)[..., None]
