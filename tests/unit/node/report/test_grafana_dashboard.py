"""The Grafana dashboard asks for figures that `/metrics` has, by labels that they have, on a grid without overlaps."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sample_events import ROUND

from node.config.sections.metrics import MetricsConfig
from node.report.monitor import Monitor
from node.storage.events import EvaluationEvent
from swarm.transport.base import TransportStatus

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is an extra")
FILE = Path(__file__).parents[4] / "packaging" / "grafana" / "murmuration.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
ADDED_BY_PROMETHEUS = {"instance"}


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Names of the samples of a node that played rounds, with the names of their labels."""
    import urllib.request

    found: dict[str, set[str]] = defaultdict(set)
    with closing(Monitor(MetricsConfig(listen="127.0.0.1:0"))) as monitor:
        monitor.on_evaluation(EvaluationEvent(0, 0.125, {"sort@3": 0.125}))
        for number in (1, 2):
            counts = {"fetched_bytes": 10 * number, "served_bytes": 20 * number}
            monitor.on_round(ROUND, TransportStatus(True, (), 5, counts))
        place = re.findall(r"http://[^/]+", monitor.words[-1])[0]
        with urllib.request.urlopen(f"{place}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found


EXPRESSIONS = [
    target["expr"]
    for one in (*DASHBOARD["panels"], *DASHBOARD["templating"]["list"])
    for target in one.get(
        "targets", [{"expr": one["query"]["query"]}] if isinstance(one.get("query"), dict) else []
    )
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_figure_asked_for_is_one_that_a_node_gives(
    expression: str, exposed: dict[str, set[str]]
) -> None:
    names = re.findall(r"murmur_\w+", expression)
    assert names and set(names) <= set(exposed)
    labels = {label for name in names for label in exposed[name]} | ADDED_BY_PROMETHEUS
    wanted = {
        part.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for part in group.split(",")
    }
    assert wanted <= labels


def test_legends_name_labels_that_the_figures_have(exposed: dict[str, set[str]]) -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            labels = {label for name in re.findall(r"murmur_\w+", target["expr"]) for label in exposed[name]}
            assert named <= labels | ADDED_BY_PROMETHEUS


def test_it_has_what_grafana_imports_a_dashboard_by() -> None:
    assert DASHBOARD["uid"] and DASHBOARD["title"] and DASHBOARD["schemaVersion"] >= 36
    (source,) = [one["name"] for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["datasource"]["uid"] == f"${{{source}}}" and panel["description"] for panel in panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = set(
            product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
