"""The shape of a problem's trees: the number of roots, the steps at which they split, the children of each node.

A sequential group with one start noise is one root that splits at step 0 only; one with a start noise
each is all roots and no splits. BranchGRPO's default (arXiv 2509.06040) is a root that splits in two at 0, 3, 6 and 9.
Nodes of a depth are numbered from 0; the children of node p are the `width` numbers from p * width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul


@dataclass(frozen=True, slots=True)
class TreeShape:
    """`widths[i]` children of every node at step i; depth d is after d steps, so depth 0 holds the roots."""

    roots: int
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.roots < 1 or not self.widths or min(self.widths) < 1:
            raise ValueError(f"trees of {self.roots} roots and widths {self.widths}")

    @classmethod
    def of(cls, splits: Mapping[int, int], leaves: int, steps: int) -> TreeShape:
        """The shape of exactly `leaves` leaves that comes nearest to `splits` (step -> children).

        Early splits come first, each as wide as divides what is left; what remains are roots.
        """
        widths = [1] * steps
        rest = leaves
        for step in sorted(splits):
            widths[step] = math.gcd(splits[step], rest)
            rest //= widths[step]
        return cls(rest, tuple(widths))

    @property
    def steps(self) -> int:
        return len(self.widths)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes of each depth, steps + 1 of them."""
        return tuple(accumulate(self.widths, mul, initial=self.roots))

    @property
    def leaves(self) -> int:
        return self.sizes[-1]

    @property
    def evaluations(self) -> int:
        """Rows that the network is asked for: one a parent, since siblings share it."""
        return sum(self.sizes[:-1])

    @property
    def edges(self) -> int:
        return sum(self.sizes[1:])

    def ancestor(self, leaf: int, depth: int) -> int:
        """The node of `depth` on the path to `leaf`."""
        return leaf // (self.leaves // self.sizes[depth])
