"""A simulation's result on standard output: a table for a person, one JSON object for a script."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TypeAlias

from rich import box
from rich.table import Table

from node.ui.run_view import new_console
from swarm.simulation.result import Recovery, SimulationResult

_Line: TypeAlias = tuple[str, str, str]  # figure, value, what it means


def show_outcome(result: SimulationResult, *, as_json: bool) -> None:
    console = new_console()
    if as_json:
        console.out(json.dumps(outcome_json(result), allow_nan=False), highlight=False)
        return
    scenario = result.scenario
    title = (
        f"{scenario.nodes} nodes, {2**scenario.depth} shards, seed {scenario.seed}, {result.seconds:.0f} s"
    )
    table = Table(
        "of a node's round",
        "mean",
        "what it is",
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    for line in [*_costs(result), *_bodies(result), *_servers(result), *_invariants(result)]:
        table.add_row(*line)
    if result.recovery:
        for line in _recovery(result.recovery):
            table.add_row(*line)
    console.print(table)


def outcome_json(result: SimulationResult) -> dict[str, object]:
    """All fields by their names; the uniformity's figures lie flat."""
    fields = asdict(result)
    del fields["uniformity"]
    tested = result.uniformity
    return {
        **fields,
        "uniformity_chi_square": tested.chi_square,
        "uniformity_degrees": tested.degrees,
        "uniformity_dispersion": tested.dispersion,
        "uniformity_p": tested.p,
        "uniformity_most": tested.most,
    }


def _costs(o: SimulationResult) -> Iterator[_Line]:
    yield (
        "bytes",
        _bytes(o.bytes_per_round),
        f"p95 {_bytes(o.bytes_per_round_p95)}, {o.node_rounds} rounds counted",
    )
    yield "  bodies", _bytes(o.body_bytes), "rollouts of peers"
    yield "  gossip on answers", _bytes(o.gossip_bytes), "news of other bodies, sent along with fetched ones"
    yield "  announcing", _bytes(o.announce_bytes), "own bodies in the DHT"
    yield "  reading the DHT", _bytes(o.read_bytes), f"with announcing: p95 {_bytes(o.control_bytes_p95)}"
    yield "  new connections", _bytes(o.connection_bytes), "those that a daemon did not keep"
    yield (
        "announcements",
        f"{o.announcements_per_round:.2f}",
        "of own bodies, put into the DHT; renewed ones count too",
    )
    yield (
        "DHT keys read",
        f"{o.reads_per_round:.2f}",
        f"p95 {o.reads_per_round_p95:.0f}; each may take several requests",
    )
    yield "DHT requests", f"{o.rpcs_per_round:.1f}", "to read and to announce"


def _bodies(o: SimulationResult) -> Iterator[_Line]:
    tested = o.uniformity
    p = f"p {tested.p:.3g}, chi-square {tested.chi_square:.0f} of {tested.degrees}"
    yield "bodies", f"{o.bodies_per_round:.2f}", f"{o.failed_share:.1%} of the fetches failed"
    yield "  age, seconds", f"{o.age:.0f}", f"p95 {o.age_p95:.0f}"
    yield "  dispersion", f"{tested.dispersion:.2f}", f"of fetches over publishers; uniform: 1; {p}"
    yield "  busiest publisher", f"{tested.most:.2f}", "fetches of it over those expected"


def _servers(o: SimulationResult) -> Iterator[_Line]:
    yield "requests to a server", f"{o.server_requests:.0f}", f"{_bytes(o.server_bytes)} in a round's time"
    yield (
        "  hottest over mean",
        f"{o.hottest_share:.2f}",
        "requests to the busiest server over those to a server",
    )


def _invariants(o: SimulationResult) -> Iterator[_Line]:
    yield "trained twice", str(o.trained_twice), "bodies that a node took again; must be 0"
    yield "never offered", str(o.never_offered), "bodies of somebody else than announced them; must be 0"
    yield "through a partition", str(o.crossed), "bodies between its sides while it lasted; must be 0"
    yield "from the dead", str(o.answered_dead), "bodies of nodes that had left; must be 0"


def _recovery(recovery: Recovery) -> Iterator[_Line]:
    """Of a partition."""
    back = "not in this time" if recovery.seconds is None else f"{recovery.seconds:.0f} s"
    yield "crossing before", _or_dash(recovery.crossing_before), "share of bodies from the other half"
    yield "bodies during", _or_dash(recovery.bodies_during), "of the partition"
    yield "bodies after", _or_dash(recovery.bodies_after), ""
    yield "recovered after", back, "bodies cross as before"


def _or_dash(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"


def _bytes(count: float) -> str:
    power = min(2, int(math.log10(max(1.0, count)) / 3))
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB')[power]}"
