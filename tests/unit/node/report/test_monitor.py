"""`/metrics` and `/health` over real sockets: what they say, whom they answer, and that they never end a run."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sample_events import ROUND

from node.config.sections.metrics import MetricsConfig
from node.report.metrics_server import AT_ONCE
from node.report.monitor import Monitor
from node.storage.events import EvaluationEvent
from policies.install_hints import install_extras
from swarm.transport.base import TransportStatus

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is an extra")
PAGE = Path(__file__).parents[4] / "docs" / "unattended.md"
ANY_PORT = MetricsConfig(listen="127.0.0.1:0")


def network(received: int, served: int = 0) -> TransportStatus:
    return TransportStatus(True, (), 5, {"fetched_bytes": received, "served_bytes": served})


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    with closing(Monitor(ANY_PORT)) as made:
        yield made


def get(
    monitor: Monitor, path: str, host: str | None = None, method: str = "GET"
) -> tuple[int, str, dict[str, str]]:
    place = urlsplit(re.findall(r"http://[^/]+", monitor.words[-1])[0]).netloc
    connection = http.client.HTTPConnection(place, timeout=10)
    connection.request(method, path, headers={"Host": host or place})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}


def samples(text: str) -> dict[str, float]:
    """`name{label=value}` -> value."""
    return {
        s.name + "".join(f"{{{k}={v}}}" for k, v in s.labels.items()): s.value
        for family in parser.text_string_to_metric_families(text)
        for s in family.samples
    }


def test_the_figures_of_rounds_are_read_by_prometheus_own_parser(monitor: Monitor) -> None:
    monitor.on_evaluation(EvaluationEvent(0, 0.125, {"sort@1": 0.125}))
    monitor.on_round(ROUND, network(1000))
    second = replace(ROUND, round=2, loss=None, diverged="nan", seconds=3.0, transport_cpu_seconds=0.2)
    monitor.on_round(second, network(1500, 70))
    monitor.on_round(replace(ROUND, round=3), network(20, 70))  # its transport was started anew
    status, text, headers = get(monitor, "/metrics")
    found = samples(text)
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    expected = {
        "murmur_round": 3, "murmur_reward": 0.25, "murmur_task_reward{task=sort@1}": 0.25,
        "murmur_held_out_reward": 0.125, "murmur_loss": 0.1, "murmur_pool_groups": 0, "murmur_peers": 2,
        "murmur_peers_announced": 5, "murmur_round_seconds_count": 3, "murmur_round_seconds_sum": 5.0,
        "murmur_trained_groups_total{origin=own}": 12, "murmur_trained_groups_total{origin=external}": 6,
        "murmur_refused_total{reason=stale}": 6, "murmur_dropped_groups_total{reason=all_wrong}": 3,
        "murmur_diverged_rounds_total": 1, "murmur_tokens_total": 300,
        "murmur_bytes_total{direction=received}": 1520, "murmur_bytes_total{direction=served}": 70,
        "murmur_health{state=ok}": 1, "murmur_health{state=stale}": 0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["murmur_cpu_seconds_total"] == pytest.approx(2.7)
    assert found["murmur_transport_cpu_seconds_total"] == pytest.approx(0.2)
    assert math.isnan(found["murmur_external_reward"])


def test_every_name_is_documented_and_every_documented_name_is_there(monitor: Monitor) -> None:
    monitor.on_round(ROUND, network(1))
    monitor.on_evaluation(EvaluationEvent(0, 0.1, {"sort@1": 0.1}))
    families = parser.text_string_to_metric_families(get(monitor, "/metrics")[1])
    names = {s.name for family in families for s in family.samples if not s.name.endswith("_created")}
    documented = set(re.findall(r"^\| `(murmur_\w+)", PAGE.read_text(encoding="utf-8"), re.M))
    assert names == documented


def test_health_says_the_state_and_its_status(monitor: Monitor) -> None:
    assert (get(monitor, "/health")[0], json.loads(get(monitor, "/health")[1])["status"]) == (200, "starting")
    monitor.on_round(replace(ROUND, diverged="nan"), network(0))
    status, text, headers = get(monitor, "/health")
    assert (status, json.loads(text)["status"], headers["content-type"]) == (
        503,
        "diverging",
        "application/json",
    )


def test_whom_it_answers(monitor: Monitor) -> None:
    assert get(monitor, "/health", host="localhost:1")[0] == 200
    assert get(monitor, "/health", host="[::1]:1")[0] == 200
    assert get(monitor, "/health", host="127.evil.example:1")[0] == 421
    assert get(monitor, "/health", host="evil.example")[0] == 421
    assert get(monitor, "/metrics?x=1")[0] == 200
    status, text, _ = get(monitor, "/<script>")
    assert status == 404 and "script" not in text and "/metrics, /health" in text
    assert get(monitor, "/health", method="POST")[0] == 501


def test_a_port_that_is_taken_is_words_and_the_run_goes_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monitor = Monitor(MetricsConfig(listen=f"127.0.0.1:{other.getsockname()[1]}"))
        (words,) = monitor.words
        assert "is not to be had" in words and "metrics.listen" in words
        monitor.on_round(ROUND, network(1))
        monitor.close()


@pytest.mark.parametrize("place", ["no.such.host.invalid:1", "256.1.1.1:80"])
def test_an_address_that_is_none_is_words_too(place: str) -> None:
    monitor = Monitor(MetricsConfig(listen=place))
    assert "is not to be had" in monitor.words[0]
    monitor.close()


def test_without_the_library_health_is_served_and_metrics_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "node.report.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with closing(Monitor(ANY_PORT)) as monitor:
        monitor.on_round(ROUND, network(1))
        assert install_extras("metrics") in monitor.words[0]
        assert get(monitor, "/health")[0] == 200
        status, text, _ = get(monitor, "/metrics")
        assert status == 501 and install_extras("metrics") in text


def test_a_page_that_cannot_be_made_fails_for_its_reader_alone(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor.on_round(ROUND, network(1))
    monkeypatch.setattr(monitor._health, "standing", lambda: 1 / 0)
    assert get(monitor, "/metrics")[0] == get(monitor, "/health")[0] == 500
    monkeypatch.undo()
    assert get(monitor, "/health")[0] == 200


def test_a_flood_of_requests_takes_a_few_threads_at_most(monitor: Monitor) -> None:
    port = int(re.findall(r":(\d+)/metrics", monitor.words[-1])[0])
    before = threading.active_count()
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4 * AT_ONCE)]
    try:
        hung_up = [one for one in idle[AT_ONCE:] if one.recv(1) == b""]
        assert len(hung_up) == 3 * AT_ONCE and threading.active_count() - before <= AT_ONCE
    finally:
        for one in idle:
            one.close()


def test_nothing_is_served_unless_asked() -> None:
    monitor = Monitor(MetricsConfig())
    monitor.on_round(ROUND, network(1))
    monitor.close()
    assert monitor.words == []
