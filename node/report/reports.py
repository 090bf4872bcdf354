"""All that one run reports to other programs: its monitor and its trackers. None of it can end the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from node.config.schema import Config
from node.report.background import BackgroundTracker
from node.report.figures import of_evaluation, of_round
from node.report.monitor import Monitor
from node.report.samples import Sample, samples_of
from node.report.trackers import TRACKERS, TrackedRun
from node.storage.events import EvaluationEvent, RoundEvent
from node.storage.run_folder import RunFolder
from swarm.transport.base import TransportStatus

logger = logging.getLogger(__name__)


class Reports:
    """Served from its making on; trackers begin with the first round. Called in the loop's thread."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self._config, self._folder = config, folder
        self._monitor = Monitor(config.metrics)
        self._trackers: list[BackgroundTracker] = []

    def begin(self, round_number: int) -> None:
        """Starts the trackers of a run that has played `round_number` rounds."""
        run = TrackedRun(self._config, self._folder.path, round_number + 1 if round_number else 0)
        for kind in dict.fromkeys(self._config.tracking.kinds):
            self._trackers.append(BackgroundTracker(kind, partial(TRACKERS[kind], run)))

    def on_round(self, event: RoundEvent, network: TransportStatus) -> None:
        self._guarded(lambda: self._monitor.on_round(event, network))
        samples = self._samples(event.round)
        for tracker in self._trackers:
            self._guarded(partial(tracker.log, event.round, of_round(event), samples))

    def _samples(self, round_number: int) -> list[Sample]:
        """Rollouts of a round that has them to be shown. A store that cannot be read costs them alone."""
        found: list[Sample] = []
        settings = self._config.tracking
        if self._trackers and settings.samples and round_number % settings.samples_every == 0:
            read = partial(samples_of, self._folder.events, round_number, settings.samples)
            self._guarded(lambda: found.extend(read()))
        return found

    def on_evaluation(self, event: EvaluationEvent) -> None:
        self._guarded(lambda: self._monitor.on_evaluation(event))
        for tracker in self._trackers:
            self._guarded(partial(tracker.log, event.round, of_evaluation(event)))

    def new_words(self) -> list[str]:
        """What the run's owner should hear since the last call."""
        words, self._monitor.words = self._monitor.words, []
        return words + [line for tracker in self._trackers for line in tracker.new_words()]

    def close(self) -> None:
        for tracker in self._trackers:
            self._guarded(tracker.close)
        self._guarded(self._monitor.close)

    @staticmethod
    def _guarded(call: Callable[[], None]) -> None:
        """A fault of a report is the report's alone; it goes to the log."""
        try:
            call()
        except Exception:  # whatever a metrics library raises: the run goes on
            logger.exception("a report failed")
