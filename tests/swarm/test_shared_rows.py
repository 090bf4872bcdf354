"""Rows over real daemons: a joiner gets them from the owner, a third from the joiner, and a killed fetch goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from patience import PATIENCE, until_answered
from row_streams import CONTENT, PIECES, wanted

from policies.tasks.task import TaskSpec
from swarm.errors import FetchFailed, TransportDown
from swarm.rows.row_store import RowStore
from swarm.transport.dht import DhtSettings, DhtTransport
from swarm.wire.manifest import Manifest

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(400)]

MANIFEST = Manifest("rows", (TaskSpec("data:x"),))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


def node(
    stack: ExitStack, folder: Path, bootstrap: tuple[str, ...], rows: tuple[Path, ...] = ()
) -> DhtTransport:
    folder.mkdir(exist_ok=True)
    settings = DhtSettings(MANIFEST, bootstrap, rows=rows, start_timeout=PATIENCE)
    transport = stack.enter_context(closing(DhtTransport(settings, folder / "key")))
    transport.wait_ready(PATIENCE)
    return transport


def counted(transport: DhtTransport, name: str, count: int) -> bool:
    """Whether the counter, told a tick late, comes to `count`, or past it where something was asked for again."""
    deadline = time.monotonic() + PATIENCE
    while transport.status().counters.get(name, 0) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return transport.status().counters.get(name, 0) >= count


def test_rows_go_from_the_owner_to_a_joiner_and_from_there_to_a_third(
    stack: ExitStack, tmp_path: Path
) -> None:
    path = RowStore(tmp_path / "ann").put(CONTENT)
    ann = node(stack, tmp_path / "ann", (), (path,))
    ways = ann.status().addresses
    ben = node(stack, tmp_path / "ben", ways)
    assert until_answered(ben.rows, wanted(0)) == PIECES.encode()
    store = RowStore(tmp_path / "ben")
    with store.draft(PIECES) as draft:
        draft.add(until_answered(ben.rows, wanted(1)))
    ben.close()  # killed half way: what it has is on disk

    again = node(stack, tmp_path / "ben", ways)
    with store.draft(PIECES) as draft:
        assert draft.held == 1
        for number in (2, 3):
            draft.add(until_answered(again.rows, wanted(number)))
        landed = draft.land()
    assert landed.read_bytes() == CONTENT
    assert counted(again, "rows_fetched", 2) and counted(ann, "rows_served", 4)
    again.close()

    giver = node(stack, tmp_path / "ben", ways, (landed,))
    ann.close()  # the owner is away
    cleo = node(stack, tmp_path / "cleo", giver.status().addresses)
    assert b"".join(until_answered(cleo.rows, wanted(number)) for number in (1, 2, 3)) == CONTENT
    assert counted(giver, "rows_served", 3)


def test_who_has_no_rows_is_told_of_and_a_dead_daemon_is_no_crash(stack: ExitStack, tmp_path: Path) -> None:
    ann = node(stack, tmp_path / "ann", ())
    ben = node(stack, tmp_path / "ben", ann.status().addresses)
    with pytest.raises(FetchFailed, match="not_found"):
        ben.rows(wanted(1))
    assert counted(ben, "rows_from_not_found", 1) and counted(ann, "rows_not_found", 1)
    ben.close()
    with pytest.raises(TransportDown):
        ben.rows(wanted(1))
