"""Everybody who follows a run: its view first, then what it reports to other programs."""

from __future__ import annotations

from node.report.reports import Reports
from node.runtime.loop import Node
from node.storage.events import EvaluationEvent, LifeEvent, RoundEvent
from node.storage.log_file import bound_logs
from node.storage.run_folder import RunFolder
from node.ui.run_view import RunView


class Audience:
    """A `Watcher` that passes events on, tells what a report had to say, and keeps the folder's logs bounded."""

    def __init__(self, node: Node, folder: RunFolder, view: RunView, reports: Reports) -> None:
        self._node, self._folder, self._view, self._reports = node, folder, view, reports

    def on_round(self, event: RoundEvent) -> None:
        self._view.on_round(event)
        self._reports.on_round(event, self._node.gossip.transport_status())
        bound_logs(self._folder.path, self._folder.logs)
        self.tell()

    def on_evaluation(self, event: EvaluationEvent) -> None:
        self._view.on_evaluation(event)
        self._reports.on_evaluation(event)

    def on_notice(self, event: LifeEvent) -> None:
        self._view.on_notice(event)

    def should_stop(self) -> bool:
        return self._view.should_stop()

    def tell(self) -> None:
        """What the reports have to say, each line once."""
        for words in self._reports.new_words():
            notice = LifeEvent(self._node.round, "report", words)
            self._node.store.append(notice)
            self._view.on_notice(notice)
