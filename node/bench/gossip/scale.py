"""`bench gossip` beyond what one machine can run: the checks of a simulated swarm of 10,000 nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from node.bench.kit.report import Check, Row

# Nodes; from the one to the other a node's costs have to stay. Both fill their shards alike: shards double in number,
# so between 1,000 and 10,000 nodes those of the smaller swarm are half as full again, and it reads fewer of them.
SMALL, LARGE = 1_250, 10_000
# Of each node, after two that are not counted. Members of large shards wait longer for their turn, so what lies at the
# edges of the counted time is uneven by 2 % of a round's fetches: nothing over 12 rounds, and seen over 4.
ROUNDS = 12
GROWTH_CEILING = 1.25  # of announcing and reading, as `flatness` asks of real daemons
HOTTEST_CEILING = 4.0  # requests to the busiest DHT server over the mean
UNIFORM_FLOOR = 0.01  # chance of so uneven a sample when all publishers are drawn alike


class Simulated(Protocol):
    """A simulation's figures, of a node and round."""

    @property
    def control_bytes(self) -> float:
        """Bytes of announcing and of reading the DHT."""

    @property
    def reads_per_round(self) -> float:
        """DHT keys looked up."""

    @property
    def hottest_share(self) -> float:
        """Requests to the busiest DHT server over the mean."""

    @property
    def uniformity_p(self) -> float:
        """Chance of a chi-square at least this large when all publishers are fetched alike."""


def checks_of(simulated: Mapping[int, Simulated]) -> list[Check]:
    """The check, once both sizes are there."""
    if not simulated.keys() >= {SMALL, LARGE}:
        return []
    return [simulated_scale(simulated[SMALL], simulated[LARGE])]


def simulated_scale(small: Simulated, large: Simulated) -> Check:
    """The share of four statements on SMALL and LARGE nodes that are true; it is asked of all."""
    true = (
        large.control_bytes <= GROWTH_CEILING * small.control_bytes,
        large.reads_per_round <= GROWTH_CEILING * small.reads_per_round,
        large.hottest_share <= HOTTEST_CEILING,
        large.uniformity_p >= UNIFORM_FLOOR,
    )
    paper = "flat announcements and reads, hottest server bounded, uniform sampling"
    return Check.of("simulated_10000", [sum(true) / len(true)], paper=paper, floor=1)


def rows_of(simulated: Mapping[int, Simulated]) -> list[Row]:
    """One row for each number of nodes."""
    return [
        {
            "simulated": nodes,
            "control_kb": figures.control_bytes / 1e3,
            "reads": figures.reads_per_round,
            "hottest": figures.hottest_share,
            "uniformity_p": figures.uniformity_p,
        }
        for nodes, figures in simulated.items()
    ]
