"""Linear layers whose weights lie as the CPU's products read them: laid out once, where a plain product does it anew.

One thread of an EPYC with bfloat16 units, all linear layers and the head of SmolLM2-135M, 16 rows: 33 ms against 56 in
bfloat16, 63 against 108 in float32; at 128 rows 184 against 212, and 354 against 459.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

# A product has a fixed cost of its own here: in float32 a smaller layer is faster by the plain one.
LEAST_WEIGHTS = {torch.float32: 2**18, torch.bfloat16: 0}


class PackedLinear(torch.nn.Module):
    """Stands in for a `torch.nn.Linear` whose weights do not train; they are still to be set, by `pack`."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.dtype = plain.weight.dtype
        self.bias = plain.bias

    def pack(self, weight: torch.Tensor) -> None:
        """Takes `weight` (out, in) over."""
        plain = weight.detach().to(self.dtype).contiguous()
        self._packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(plain)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows (..., in) to (..., out)."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._packed, self.bias, "none", [], ""
        )
        return product

    def joined(self, rows: torch.Tensor, other: torch.Tensor, how: str) -> torch.Tensor:
        """The product with `other` (..., out) added to it, or multiplied; `how`: `add` or `mul`. Rounds once."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, other, self._packed, self.bias, how
        )
        return product


def product_plus(linear: torch.nn.Module, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """linear(rows) + other."""
    if isinstance(linear, PackedLinear):
        return linear.joined(rows, other, "add")
    product: torch.Tensor = linear(rows)
    return product + other


def product_times(linear: torch.nn.Module, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """linear(rows) * other."""
    if isinstance(linear, PackedLinear):
        return linear.joined(rows, other, "mul")
    product: torch.Tensor = linear(rows)
    return product * other


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch has packed products for this device and type."""
    if device.type != "cpu" or dtype not in LEAST_WEIGHTS or not torch._C._has_mkldnn:
        return False
    known = all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    return known and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def pack_layers(model: torch.nn.Module) -> None:
    """Puts packed layers in the places of the model's linear ones, where that is faster."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.Linear and child.weight.numel() >= LEAST_WEIGHTS[child.weight.dtype]:
                setattr(parent, name, PackedLinear(child))


def packed_layers(model: torch.nn.Module) -> Iterator[tuple[str, PackedLinear]]:
    """Every packed layer with its path."""
    return ((path, layer) for path, layer in model.named_modules() if isinstance(layer, PackedLinear))
