"""Rows are taken with the owner's word alone, go on where a kill ended them, and land whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shared_rows_case import invite, owner

from node.arguments import join_config
from node.config.data_manifest import content_of
from node.config.schema import Config, ConfigError
from node.rows import consent, kept, taking
from node.rows.kept import handed_on, keep_shared, root_of, row_store, sharing_notices
from node.rows.taking import fetch_rows, take_again, take_rows
from policies.tasks import build_task
from policies.tasks.data_task import build_with_rows
from swarm.errors import FetchFailed, TransportDown, TransportError
from swarm.limits import ROWS_PIECE
from swarm.rows.pieces import PieceList
from swarm.rows.rows_fetch import Wanted

Ask = Callable[[Wanted], bytes]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def member(content: bytes) -> Ask:
    pieces = PieceList.of(content)

    def ask(wanted: Wanted) -> bytes:
        assert wanted.root == pieces.root
        if wanted.number == 0:
            return pieces.encode()
        return content[(wanted.number - 1) * ROWS_PIECE : wanted.number * ROWS_PIECE]

    return ask


class Loopback:
    """A transport whose members have `content`."""

    content = b""

    def __init__(self, settings: Any) -> None:
        self.rows = member(self.content)

    def wait_ready(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A joiner by the invite alone; members have the owner's rows."""
    config = owner(tmp_path / "a")
    monkeypatch.setattr(Loopback, "content", content_of(build_with_rows(config.tasks[0].spec)[1]))
    monkeypatch.setattr(taking, "DhtTransport", Loopback)
    return join_config([invite(config)], "tiny", [], None)[0]


def test_without_a_terminal_and_without_the_flag_nothing_is_taken(joining: Config) -> None:
    with pytest.raises(
        ConfigError, match=r"data:sums: 40 rows \(digest \w{16}\), from members.*sha256 \w{16}"
    ) as no:
        take_rows(joining, b"", accept=False)
    assert "To take them add --accept-data" in str(no.value) and "at 127.0.0.1" in str(no.value)
    assert not row_store().folder.exists()


@pytest.mark.parametrize("yes", [True, False])
def test_at_a_terminal_the_owner_is_asked(
    joining: Config, monkeypatch: pytest.MonkeyPatch, yes: bool
) -> None:
    asked = []

    def confirm(question: str, **options: Any) -> bool:
        asked.append((question, options["default"]))
        return yes

    monkeypatch.setattr(consent, "at_terminal", lambda: True)
    monkeypatch.setattr(consent.typer, "confirm", confirm)
    if yes:
        assert take_rows(joining, b"", accept=False).tasks[0].path
    else:
        with pytest.raises(ConfigError, match="the rows were not taken, and nothing was started"):
            take_rows(joining, b"", accept=False)
    assert asked == [("Take them?", False)]


def test_taken_rows_are_the_owner_s_and_are_taken_once_and_handed_on(joining: Config, tmp_path: Path) -> None:
    taken = take_rows(joining, b"", accept=True)
    own = owner(tmp_path / "a")
    assert build_task(taken.tasks[0].spec).name == build_task(own.tasks[0].spec).name
    assert take_rows(joining, b"", accept=False) == taken == take_rows(taken, b"", accept=False)
    assert handed_on(taken) == (Path(taken.tasks[0].path),)
    assert sharing_notices(taken) == [
        "data:sums: its rows came from the swarm, and this node hands them on to members"
    ]
    assert take_again(taken, b"") == taken
    Path(taken.tasks[0].path).write_bytes(b"damaged")
    assert take_again(taken, b"") == taken and build_task(taken.tasks[0].spec)


def test_an_owner_s_rows_are_put_where_they_are_handed_on_from(tmp_path: Path) -> None:
    config = owner(tmp_path / "a")
    assert handed_on(config) == ()
    keep_shared(config)
    [path] = handed_on(config)
    assert path.read_bytes().count(b"\n") == 40 and b"not travelling" not in path.read_bytes()
    assert sharing_notices(config) == [
        "data:sums: its rows are shared: whoever has the invite, or gets it from somebody, can read and keep them "
        "(open swarm)"
    ]


def test_more_than_the_node_takes_is_refused_before_the_question(joining: Config) -> None:
    traffic = joining.swarm.traffic.model_copy(update={"rows": 0.0005})  # type: ignore[union-attr]
    small = joining.model_copy(update={"swarm": joining.swarm.model_copy(update={"traffic": traffic})})
    with pytest.raises(
        ConfigError, match=r"this node takes at most 0.0005 MB: add --set swarm.traffic.rows=1"
    ):
        take_rows(small, b"", accept=True)


def test_a_fetch_goes_on_where_a_kill_ended_it(joining: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"".join(b'{"n": "%07d"}\n' % n for n in range(50_000))
    pieces = PieceList.of(content)
    params = {**joining.tasks[0].params, "pieces": pieces.root.hex(), "size": len(content)}
    task = joining.tasks[0].model_copy(update={"params": params})
    asked: list[int] = []

    def killed(wanted: Wanted) -> bytes:
        asked.append(wanted.number)
        if wanted.number == 3:
            raise KeyboardInterrupt
        return member(content)(wanted)

    with pytest.raises(KeyboardInterrupt):
        fetch_rows(task, row_store(), killed)
    assert asked == [0, 1, 2, 3] and row_store().find(pieces.root) is None
    asked.clear()

    def again(wanted: Wanted) -> bytes:
        asked.append(wanted.number)
        return member(content)(wanted)

    assert fetch_rows(task, row_store(), again).read_bytes() == content
    assert asked == [0, 3, 4]


def test_members_that_are_away_are_waited_for_and_then_given_up_in_words(
    joining: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "PAUSE", 0.0)
    answers: list[Exception | None] = [FetchFailed("x: busy"), TransportDown("gone"), None, None]

    def flaky(wanted: Wanted) -> bytes:
        if (error := answers.pop(0)) is not None:
            raise error
        return member(Loopback.content)(wanted)

    assert fetch_rows(joining.tasks[0], row_store(), flaky) == row_store().find(
        root_of(joining.tasks[0]) or b""
    )
    monkeypatch.setattr(taking, "PATIENCE", -1.0)

    def nobody(wanted: Wanted) -> bytes:
        raise FetchFailed("x: not_found")

    with pytest.raises(
        TransportError, match=r"no member gives its rows \(x: not_found\); what came of the rows is"
    ):
        fetch_rows(joining.tasks[0], row_store(), nobody)


def test_the_store_is_bounded_and_says_what_went(
    joining: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = row_store().put(b"of another run")
    monkeypatch.setattr(kept, "MOST_KEPT", 10)
    taken = take_rows(joining, b"", accept=True)
    assert not old.exists() and Path(taken.tasks[0].path).exists()
    assert "1 files of rows that were not used for longest were removed" in capsys.readouterr().err
