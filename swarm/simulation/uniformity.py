"""Uniformity tests: counted fetches of each publisher against those that uniform sampling would bring."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from scipy.special import chdtrc

from swarm.simulation.links import Host

_LEAST_EXPECTED = 5.0  # below it a chi-square term means nothing; such publishers are pooled


@dataclass(frozen=True, slots=True)
class Uniformity:
    """Pearson's test. A dispersion of 1 is what independent uniform draws have."""

    chi_square: float
    degrees: int
    p: float  # of a statistic at least this large under uniform draws; 1 where there is nothing to test
    most: float = 1.0  # fetches of the most fetched publisher over those expected of it

    @property
    def dispersion(self) -> float:
        return self.chi_square / self.degrees if self.degrees else 1.0

    @classmethod
    def of(cls, observed: list[float], expected: list[float]) -> Uniformity:
        """`expected` is scaled to the sum of `observed`."""
        total = sum(expected)
        scale = sum(observed) / total if total else 0.0
        cells, rest = [], [0.0, 0.0]  # pairs of observed and expected
        for count, mean in zip(observed, (value * scale for value in expected), strict=True):
            if mean >= _LEAST_EXPECTED:
                cells.append((count, mean))
            else:
                rest[0] += count
                rest[1] += mean
        if rest[1] >= _LEAST_EXPECTED:
            cells.append((rest[0], rest[1]))
        if len(cells) < 2:
            return cls(0.0, 0, 1.0)
        chi_square = sum((count - mean) ** 2 / mean for count, mean in cells)
        most = max(count / mean for count, mean in cells)
        return cls(float(chi_square), len(cells) - 1, float(chdtrc(len(cells) - 1, chi_square)), most)


class Exposure:
    """Who could have been fetched when. A fetch at a time with n publishers gives each of them 1/n to expect."""

    def __init__(self) -> None:
        self._due = [0.0, 0.0]  # by half: what a publisher that was there all the time may expect
        self._present: dict[Host, float] = {}  # publishers, with what was due when they came
        self._offering = [0, 0]  # by half
        self._observed: Counter[int] = Counter()  # by number of the host
        self._expected: dict[int, float] = {}

    def enter(self, publisher: Host) -> None:
        """From now on `publisher` has something to fetch."""
        if publisher not in self._present:
            self._present[publisher] = self._due[publisher.half]
            self._offering[publisher.half] += 1

    def leave(self, publisher: Host) -> None:
        if publisher in self._present:
            self._expected[publisher.number] = self._expects(publisher)
            del self._present[publisher]
            self._offering[publisher.half] -= 1

    def fetch(self, reader: Host, publisher: Host, *, parted: bool) -> None:
        """`reader` got a body of `publisher`; while the swarm is parted, it could only draw from its own half."""
        self._observed[publisher.number] += 1
        halves = (reader.half,) if parted else (0, 1)
        offering = sum(self._offering[half] for half in halves)
        for half in halves:
            self._due[half] += 1.0 / max(1, offering)

    def restart(self) -> None:
        """Forgets what was counted so far."""
        self._observed.clear()
        self._expected.clear()
        self._present = {publisher: self._due[publisher.half] for publisher in self._present}

    def test(self) -> Uniformity:
        expected = self._expected | {host.number: self._expects(host) for host in self._present}
        return Uniformity.of([float(self._observed[number]) for number in expected], list(expected.values()))

    def _expects(self, publisher: Host) -> float:
        return self._due[publisher.half] - self._present[publisher]
