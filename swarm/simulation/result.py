"""Results of a simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swarm.simulation.counters import Counters, Tally, Window
from swarm.simulation.dht import Server
from swarm.simulation.scenario import Partition, Scenario
from swarm.simulation.uniformity import Uniformity

_RECOVERED = 0.9  # of the crossing share before the partition


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a partition went. Figures that nothing was counted for are None."""

    crossing_before: float | None  # share of bodies that came from the other half, in the round before it
    bodies_during: float | None  # bodies a node's round, while it lasted
    bodies_after: float | None  # from its end to the end of the simulation
    seconds: float | None  # from its end until bodies cross as before; None: not in the time simulated

    @classmethod
    def of(cls, partition: Partition, scenario: Scenario, counters: Counters) -> Recovery:
        width = counters.window_seconds
        windows = {number * width: window for number, window in sorted(counters.windows.items())}
        before = _between(windows, partition.start - scenario.round_seconds, partition.start - width)
        during = _between(windows, partition.start, partition.end - width)
        after = _between(windows, partition.end, scenario.seconds)
        usual = _crossing(before.values())
        back = (
            start + width - partition.end
            for start, window in after.items()
            if usual is not None and (_crossing([window]) or 0.0) >= _RECOVERED * usual
        )
        return cls(usual, _bodies(during.values()), _bodies(after.values()), next(back, None))


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Figures of a node's round unless they say otherwise; bytes as `costs` defines them. 0 where nothing counted."""

    scenario: Scenario
    seconds: float  # virtual, that were played
    node_rounds: int  # that were counted
    bytes_per_round: float
    bytes_per_round_p95: float
    control_bytes: float  # announcing and reading the DHT
    control_bytes_p95: float
    announce_bytes: float
    read_bytes: float
    gossip_bytes: float
    body_bytes: float
    connection_bytes: float  # new connections: their number depends on how many a daemon keeps
    announcements_per_round: float  # put into the DHT, republished ones too
    reads_per_round: float  # DHT keys looked up
    reads_per_round_p95: float
    rpcs_per_round: float
    bodies_per_round: float
    failed_share: float  # of the fetches
    age: float  # mean seconds from announcement to body
    age_p95: float
    server_requests: float  # to a DHT server in a round's time
    server_bytes: float
    hottest_share: float  # requests to the busiest server over the mean
    uniformity: Uniformity
    served_bytes: int
    fetched_bytes: int
    trained_twice: int  # these four must be 0
    never_offered: int
    crossed: int  # bodies that came through a partition
    answered_dead: int  # bodies from nodes that had left
    recovery: Recovery | None

    @property
    def uniformity_p(self) -> float:
        """Of a chi-square at least this large when all publishers are fetched alike."""
        return self.uniformity.p


def summarise(
    scenario: Scenario, counters: Counters, servers: Sequence[Server], seconds: float
) -> SimulationResult:
    """`seconds` is how long was played."""
    column = _columns(counters.tallies)
    control = column["announce_bytes"] + column["read_bytes"]
    total = control + column["gossip_bytes"] + column["body_bytes"] + column["connection_bytes"]
    requests = np.array([server.requests for server in servers], dtype=np.float64)
    rounds = max(seconds - scenario.counted_from, scenario.round_seconds) / scenario.round_seconds
    bodies, failed = column["bodies"].sum(), column["failed"].sum()
    ages = np.frombuffer(counters.ages) if counters.ages else np.zeros(0)
    return SimulationResult(
        scenario=scenario,
        seconds=seconds,
        node_rounds=len(counters.tallies),
        bytes_per_round=_mean(total),
        bytes_per_round_p95=_p95(total),
        control_bytes=_mean(control),
        control_bytes_p95=_p95(control),
        announce_bytes=_mean(column["announce_bytes"]),
        read_bytes=_mean(column["read_bytes"]),
        gossip_bytes=_mean(column["gossip_bytes"]),
        body_bytes=_mean(column["body_bytes"]),
        connection_bytes=_mean(column["connection_bytes"]),
        announcements_per_round=_mean(column["announcements"]),
        reads_per_round=_mean(column["reads"]),
        reads_per_round_p95=_p95(column["reads"]),
        rpcs_per_round=_mean(column["rpcs"]),
        bodies_per_round=_mean(column["bodies"]),
        failed_share=float(failed / max(1.0, bodies + failed)),
        age=_mean(ages),
        age_p95=_p95(ages),
        server_requests=_mean(requests) / rounds,
        server_bytes=_mean(np.array([server.moved for server in servers])) / rounds,
        hottest_share=float(requests.max() / max(1.0, _mean(requests))) if len(requests) else 0.0,
        uniformity=counters.exposure.test(),
        served_bytes=counters.served_bytes,
        fetched_bytes=counters.fetched_bytes,
        trained_twice=counters.trained_twice,
        never_offered=counters.never_offered,
        crossed=counters.crossed,
        answered_dead=counters.answered_dead,
        recovery=Recovery.of(scenario.partition, scenario, counters) if scenario.partition else None,
    )


def _columns(tallies: Sequence[Tally]) -> dict[str, NDArray[np.float64]]:
    return {
        name: np.array([getattr(tally, name) for tally in tallies], dtype=np.float64)
        for name in Tally.__slots__
    }


def _mean(figures: NDArray[np.float64]) -> float:
    return float(figures.mean()) if len(figures) else 0.0


def _p95(figures: NDArray[np.float64]) -> float:
    return float(np.percentile(figures, 95)) if len(figures) else 0.0


def _between(windows: Mapping[float, Window], first: float, last: float) -> dict[float, Window]:
    """The windows that begin from `first` to `last`."""
    return {start: window for start, window in windows.items() if first <= start <= last}


def _crossing(windows: Iterable[Window]) -> float | None:
    counted = list(windows)
    bodies = sum(window.bodies for window in counted)
    return sum(window.crossing for window in counted) / bodies if bodies else None


def _bodies(windows: Iterable[Window]) -> float | None:
    counted = list(windows)
    rounds = sum(window.rounds for window in counted)
    return sum(window.bodies for window in counted) / rounds if rounds else None
