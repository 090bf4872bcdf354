"""Linear layers whose weights lie as the CPU's products read them: laid out once, where a plain product does it anew.

oneDNN lays out for every processor; one thread of an EPYC with bfloat16 units, all linear layers and the head of
SmolLM2-135M, 16 rows: 33 ms against 56 in bfloat16, 63 against 108 in float32; at 128 rows 184 against 212, and 354
against 459. For float32 on a processor of Intel's its own library does it better, also for small layers: 1536 x 576 by
128 rows takes 1.7 ms, against 2.0 by oneDNN and 2.2 plain (one thread of a Xeon without bfloat16 units).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

# A product of oneDNN's has a fixed cost of its own: in float32 a smaller layer is faster by the plain one.
LEAST_WEIGHTS = {torch.float32: 2**18, torch.bfloat16: 0}
LEAST_WEIGHTS_MKL = 2**14
# Rows that MKL lays out for. Other numbers may be multiplied, and fewer lose nothing by it.
_MKL_ROWS = 128
_NOTHING = torch.empty(0)


class PackedLinear(torch.nn.Module):
    """Stands in for a `torch.nn.Linear` whose weights do not train; they are still to be set, by `pack`."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.dtype = plain.weight.dtype
        self.bias = plain.bias
        self._by_mkl = self.dtype == torch.float32 and mkl_is_faster()
        # MKL's product reads the plain weights' shape alone: no memory behind it.
        self._shape = torch.empty(1).expand(self.out_features, self.in_features)
        self._packed = _NOTHING

    def pack(self, weight: torch.Tensor) -> None:
        """Takes `weight` (out, in) over."""
        plain = weight.detach().to(self.dtype).contiguous()
        self._packed = _NOTHING  # first: the new layout then lies where the old one did
        self._packed = (
            torch.ops.mkl._mkl_reorder_linear_weight(plain, _MKL_ROWS)
            if self._by_mkl
            else torch.ops.mkldnn._reorder_linear_weight(plain)
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """rows (..., in) to (..., out)."""
        product: torch.Tensor
        if self._by_mkl:
            count = rows.numel() // self.in_features
            product = torch.ops.mkl._mkl_linear(rows, self._packed, self._shape, self.bias, count)
        else:
            product = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")
        return product

    def plus(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The product with `other` (..., out) added to it."""
        return self(rows).add_(other) if self._by_mkl else self._joined(rows, other, "add")

    def times(self, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The product, multiplied by `other` (..., out)."""
        return self(rows).mul_(other) if self._by_mkl else self._joined(rows, other, "mul")

    def _joined(self, rows: torch.Tensor, other: torch.Tensor, how: str) -> torch.Tensor:
        """Rounds once."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, other, self._packed, self.bias, how
        )
        return product


def product_plus(linear: torch.nn.Module, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """linear(rows) + other."""
    if isinstance(linear, PackedLinear):
        return linear.plus(rows, other)
    product: torch.Tensor = linear(rows)
    return product + other


def product_times(linear: torch.nn.Module, rows: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """linear(rows) * other."""
    if isinstance(linear, PackedLinear):
        return linear.times(rows, other)
    product: torch.Tensor = linear(rows)
    return product * other


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch has packed products for this device and type."""
    if device.type != "cpu" or dtype not in LEAST_WEIGHTS or not torch._C._has_mkldnn:
        return False
    known = all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    return known and (dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


@cache
def mkl_is_faster() -> bool:
    """In float32: on processors of Intel's, where this torch has MKL's packed products."""
    try:
        return has_mkl_products() and "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def has_mkl_products() -> bool:
    """Whether this torch multiplies by weights that MKL laid out."""
    names = ("_mkl_linear", "_mkl_reorder_linear_weight")
    return torch._C.has_mkl and all(hasattr(torch.ops.mkl, name) for name in names)


def pack_layers(model: torch.nn.Module) -> None:
    """Puts packed layers in the places of the model's linear ones, where that is faster."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.Linear and child.weight.numel() >= _least_weights(child.weight.dtype):
                setattr(parent, name, PackedLinear(child))


def _least_weights(dtype: torch.dtype) -> int:
    return LEAST_WEIGHTS_MKL if dtype == torch.float32 and mkl_is_faster() else LEAST_WEIGHTS[dtype]


def packed_layers(model: torch.nn.Module) -> Iterator[tuple[str, PackedLinear]]:
    """Every packed layer with its path."""
    return ((path, layer) for path, layer in model.named_modules() if isinstance(layer, PackedLinear))
