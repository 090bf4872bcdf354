"""The run as Prometheus and a supervisor see it: metrics, health and the server that shows both.

Nothing here raises once it is made, and a server that cannot be had is words, not an end.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from node.config.sections.metrics import MetricsConfig, host_and_port
from node.report.extras import missing
from node.report.health import Health
from node.report.metrics_server import Page, ReportServer, json_page
from node.storage.events import EvaluationEvent, RoundEvent
from policies.error_words import brief
from swarm.transport.base import TransportStatus

logger = logging.getLogger(__name__)


class Monitor:
    """`words` say how it went: where it is served, or why not. Without `listen` there is nothing of it."""

    def __init__(self, settings: MetricsConfig) -> None:
        self.words: list[str] = []
        self._health = Health(settings)
        self._server: ReportServer | None = None
        self._metrics, self._lack = None, ""
        if not settings.listen:
            return
        try:
            from node.report.metrics import Metrics  # an extra

            self._metrics = Metrics()
        except ImportError as error:
            self._lack = missing("metrics", error)
            self.words.append(f"no /metrics: {self._lack}")
        pages = {"/metrics": self._metrics_page, "/health": self._health_page}
        try:
            self._server = ReportServer(*host_and_port(settings.listen), pages)
        except (OSError, OverflowError) as error:
            self.words.append(
                f"no /metrics and /health: {settings.listen} is not to be had ({brief(error)}); set metrics.listen to "
                "another"
            )
        else:
            self.words.append(f"metrics at {self._server.url}/metrics, health at {self._server.url}/health")

    def on_round(self, event: RoundEvent, network: TransportStatus) -> None:
        self._health.on_round(event)
        if self._metrics:
            self._metrics.on_round(event, network)

    def on_evaluation(self, event: EvaluationEvent) -> None:
        self._health.on_evaluation()
        if self._metrics:
            self._metrics.on_evaluation(event)

    def close(self) -> None:
        if self._server:
            self._server.close()

    def _health_page(self) -> Page:
        standing = self._health.standing()
        return json_page(standing.status, standing.as_dict())

    def _metrics_page(self) -> Page:
        if self._metrics is None:
            return HTTPStatus.NOT_IMPLEMENTED, "text/plain; charset=utf-8", f"{self._lack}\n".encode()
        from node.report.metrics import CONTENT_TYPE

        return HTTPStatus.OK, CONTENT_TYPE, self._metrics.page(self._health.standing())
