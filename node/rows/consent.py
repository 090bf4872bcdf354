"""Consent to rows that an invite names: asked at a terminal, given by --accept-data, and refused otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import typer

from node.config.data_manifest import COUNT, MIB, PIECES
from node.config.schema import Config, ConfigError
from node.config.sections.swarm import DhtConfig
from node.config.sections.tasks import TaskConfig
from node.ui.invocation import at_terminal
from node.ui.short_names import short_peer
from node.ui.terminal.window import say_aside
from policies.tasks.data_task import SIZE, SOURCE
from swarm.wire.multiaddr import parse_known

FLAG = "--accept-data"


@dataclass(frozen=True, slots=True)
class Offer:
    """Rows that an invite says are to be had."""

    task: TaskConfig

    @property
    def words(self) -> str:
        """What they are and from where, in a line."""
        params = self.task.params
        count = f"{params[COUNT]:,} rows" if isinstance(params.get(COUNT), int) else "rows"
        ways = []
        if SOURCE in params:
            ways.append(f"from the hub's {params[SOURCE]} at {str(params['revision'])[:12]}")
        if PIECES in params:
            ways.append(
                f"from members of the swarm, {amount(int(params[SIZE]))}, sha256 {str(params[PIECES])[:16]}"
            )
        return f"{self.task.name}: {count} (digest {params['rows']}), {', else '.join(ways)}"


def agree(offers: Sequence[Offer], config: Config, *, accept: bool) -> None:
    """Returns where the owner of this node takes what is offered. Raises ConfigError where not."""
    told = "\n".join(f"  {offer.words}" for offer in offers)
    asked = f"The invite's swarm trains on rows that this node does not have:\n{told}\n{_offered_by(config)}"
    if accept:
        return say_aside(f"{asked}\nTaken, as {FLAG} says.")
    if not at_terminal():
        raise ConfigError(
            f"{asked}\nTo take them add {FLAG}; to train on a file of your own, --config FILE.toml with the task's "
            "name and path"
        )
    rules = "They are read as text and nothing in them is run; this node hands them on to other members."
    say_aside(f"{asked}\n{rules}")
    if not typer.confirm("Take them?", default=False, err=True):
        raise ConfigError("the rows were not taken, and nothing was started")


def amount(size: int) -> str:
    """Bytes for people."""
    return f"{size / MIB:.1f} MB" if size >= MIB else f"{max(1, round(size / 1024))} kB"


def _offered_by(config: Config) -> str:
    if not isinstance(config.swarm, DhtConfig):
        return ""
    places = parse_known(config.swarm.bootstrap)
    peers = [f"{short_peer(place.peer)} at {place.host}" for place in places if place.peer]
    more = f" and {len(peers) - 2} more" if len(peers) > 2 else ""
    return f"Offered in swarm {config.swarm.name!r} by those who know {', '.join(peers[:2])}{more}."
