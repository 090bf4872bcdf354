"""The defences of `murmur arena`: sections of a node's config, from none at all to what a node has by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Defence:
    """What an honest node has against its peers: sections of its config, laid over the arena's own."""

    name: str
    trust: Mapping[str, Any] = field(default_factory=dict)
    sampler: Mapping[str, Any] = field(default_factory=dict)
    against: tuple[str, ...] | None = None  # the attacks that it is for; None: all

    def meets(self, attack: str) -> bool:
        return self.against is None or attack in self.against


UNDEFENDED = Defence("undefended", {"trusting": True, "usefulness_every": 0}, {"draw": "uniform"})
DEFAULT = Defence("default")
# Each alone, beside fair weights, held places and records, which are not switched off one by one; habits and the cut of
# long answers together are the default.
NOTHING: Mapping[str, Any] = {"habits": False, "length_quantile": 1.0, "token_floor": 0.0}
_INJECTIONS = ("text_injection", "text_suffix", "code_injection", "wrong_step")
SINGLE = (
    Defence("tokens", {**NOTHING, "token_floor": 0.001}, against=_INJECTIONS),
    Defence(
        "together", {"length_quantile": 0.95, "token_floor": 0.001}, against=(*_INJECTIONS, "longest_correct")
    ),
    Defence("habits", {**NOTHING, "habits": True}, against=(*_INJECTIONS, "longest_correct")),
    Defence("length", {**NOTHING, "length_quantile": 0.95}, against=("longest_correct",)),
)
