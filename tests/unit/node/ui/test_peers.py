"""What `murmur peers INVITE` makes of a look at a swarm."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from sample_events import ROUND
from typer.testing import CliRunner

from node.cli import app
from node.config.reading import load_config
from node.config.roles import as_silo
from node.config.schema import ConfigError
from node.storage.events import ExternalEvent, History, PeerEvent, Store
from node.storage.run_folder import RunFolder
from node.storage.trust_lists import TrustFile
from node.ui import peers
from node.ui.peer_rows import PeerHistoryRow, announcements, peer_history, what_peers_brought
from node.ui.peers import format_uptime
from node.ui.short_names import SHOWN, short_peer
from node.ui.terminal.window import in_width
from policies.tasks.task import TaskSpec
from swarm.exchange.peer_stats import NodeStats
from swarm.observer.client import Look
from swarm.wire.announcement import Announcement, Summary, TaskSummary
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest

NOW = 1_800_000_000.0
ALICE, BOB = (Identity(bytes([n]) * 32).peer_id for n in (1, 2))
STATS = NodeStats(
    "0.1.0",
    7260.0,
    3,
    7,
    "tiny",
    4,
    (("fetched", 9), ("refused_future", 1), ("refused_swarm", 2), ("served", 5)),
)


def announcement(peer: str, seconds_ago: float) -> Announcement:
    summary = Summary(3, 7, "tiny", 2, 16, (TaskSummary("sort@1", 16, 0.25),))
    manifest = Manifest("flock", (TaskSpec("sort"),))
    created = NOW - seconds_ago
    return Announcement(
        manifest.swarm_id, 0, 0, 0, peer, created, created + 600.0, bytes(32), 1000, summary, ()
    )


LOOK = Look(
    announcements=(announcement(ALICE, 5.0), announcement(BOB, 2.0)),
    stats={ALICE: STATS},
    silent={BOB: "cannot be reached"},
    nodes=3,
    refused={},
    resident=100_000_000,
)


def test_an_offer_comes_with_what_its_publisher_says_of_itself() -> None:
    newest, oldest = announcements(LOOK, NOW)
    assert (newest.peer, newest.stats, newest.no_answer) == (BOB, None, "cannot be reached")
    assert (oldest.peer, oldest.seconds_ago, oldest.claimed_rewards) == (ALICE, 5.0, {"sort@1": 0.25})
    assert oldest.stats and oldest.stats.counters["served"] == 5
    assert oldest.stats.refused == 3 and oldest.no_answer == ""


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.time, "time", lambda: NOW)


def shown_once(view: Callable[[], RenderableType]) -> None:
    peers._repeat(view, watch=False)


def test_the_table_names_peers_figures_and_silences(capsys: pytest.CaptureFixture[str]) -> None:
    shown_once(lambda: peers._announcements_view(LOOK, as_json=False))
    shown = capsys.readouterr().out
    alice = next(line for line in shown.splitlines() if ALICE[-8:] in line)
    bob = next(line for line in shown.splitlines() if BOB[-8:] in line)
    announced, told = "5 s 3 tiny 2 16 sort@1 0.25", "yes 0.1.0 2.0 h 9 5 3"
    assert " ".join(alice.split()) == f"…{ALICE[-8:]} {announced} {told}"
    assert "sort@1 0.25" in bob and "cannot be reached" in bob
    assert "3 nodes of the DHT answered; 1 of the table's 2 peers told figures" in shown
    assert f"\n{peers._ANNOUNCEMENT_LEGEND}\n" in shown  # in a pipe a line is a line


def test_a_legend_in_a_window_is_broken_as_every_line_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown_once(lambda: peers._announcements_view(LOOK, as_json=False))
    shown = capsys.readouterr().out
    assert in_width(peers._ANNOUNCEMENT_LEGEND, 80) in shown and max(map(len, shown.splitlines())) <= 80


def test_long_versions_and_many_tasks_never_cut_a_peers_name(capsys: pytest.CaptureFixture[str]) -> None:
    [offer] = LOOK.announcements[:1]
    claims = tuple(TaskSummary(f"{name}@1", 16, 0.25) for name in ("maximum", "shift", "binary"))
    summary = replace(offer.summary, fingerprint="qwen2-604544-8552ca85", tasks=claims)
    stats = {ALICE: replace(STATS, version="0.1.0.dev291+gc389ca7")}
    look = replace(LOOK, announcements=(replace(offer, summary=summary),), stats=stats)
    shown_once(lambda: peers._announcements_view(look, as_json=False))
    assert f"…{ALICE[-SHOWN:]} " in capsys.readouterr().out


def test_json_has_whole_names_and_all_counters(capsys: pytest.CaptureFixture[str]) -> None:
    shown_once(lambda: peers._announcements_view(LOOK, as_json=True))
    rows = json.loads(capsys.readouterr().out)
    assert [row["peer"] for row in rows] == [BOB, ALICE]
    assert rows[1]["stats"]["counters"] == dict(STATS.counters)
    assert rows[0]["stats"] is None and rows[0]["no_answer"] == "cannot be reached"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (59.4, "59 s"), (90.0, "1.5 min"), (7200.0, "2.0 h"), (864000.0, "10.0 d")],
)
def test_uptimes_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert format_uptime(seconds) == text


class FakeObserver:
    """Sees LOOK, as often as it is asked."""

    def __init__(self, invite: object) -> None:
        self.looks = 0

    def look(self) -> Look:
        self.looks += 1
        return LOOK

    def close(self) -> None:
        pass


INVITE = Invite(Manifest("flock", (TaskSpec("sort"),)), (f"/ip4/127.0.0.1/tcp/1/p2p/{ALICE}",)).encode()


def test_who_waits_for_a_look_is_told_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "Observer", FakeObserver)
    peers.show_peers(INVITE, None, watch=False, as_json=False)
    told = capsys.readouterr()
    assert "looking at swarm 'flock'" in told.err and ALICE[-8:] in told.out
    peers.show_peers(INVITE, None, watch=False, as_json=True)
    script = capsys.readouterr()
    assert script.err == "" and [row["peer"] for row in json.loads(script.out)] == [BOB, ALICE]


def test_a_watched_table_redraws_itself_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Console(force_terminal=True, width=120, markup=False, highlight=False)
    monkeypatch.setattr(peers, "Observer", FakeObserver)
    monkeypatch.setattr(peers, "new_console", lambda piped: terminal)
    naps = iter(range(2))
    monkeypatch.setattr(peers.time, "sleep", lambda seconds: next(naps))
    with pytest.raises(StopIteration):
        peers.show_peers(INVITE, None, watch=True, as_json=False)
    shown = capsys.readouterr().out
    assert shown.count(ALICE[-8:]) >= 3 and "\x1b[1A" in shown  # the cursor goes up: in place, not appended


def test_a_peer_has_one_short_form_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    with closing(Store(folder.events)) as store:
        store.append(PeerEvent(1, ALICE, 2, 1, {"stale": 3}), ExternalEvent(1, ALICE, "sort@1", 1))
    peers.show_peers(None, folder.path, watch=False, as_json=False)
    shown = capsys.readouterr().out
    assert (
        short_peer(ALICE) in shown
        and ALICE[-9:] not in shown
        and "nothing can be learnt" in " ".join(shown.split())
    )
    answers = " ".join(shown.split())
    assert f"helps most: {short_peer(ALICE)}: 1 of its groups was in 1 update (" in answers
    assert f"refused most: {short_peer(ALICE)}: 3 (stale 3) of 5 groups and records" in answers
    assert "refused most: nobody" not in answers
    peers.show_peers(None, folder.path, watch=False, as_json=True)
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["peer"], row["updates"], row["reward_after"]) == (ALICE, 1, None)
    shown_once(lambda: peers._announcements_view(LOOK, as_json=False))
    assert short_peer(ALICE) in capsys.readouterr().out
    script = (Path(__file__).parents[4] / "node" / "web" / "page" / "elements.js").read_text()
    assert f"peer.slice(-{SHOWN})" in script and len(short_peer(ALICE)) - 1 == SHOWN


def test_where_nobody_was_refused_the_table_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    with closing(Store(folder.events)) as store:
        store.append(PeerEvent(1, ALICE, 2, 1, {}))
    peers.show_peers(None, folder.path, watch=False, as_json=False)
    assert "refused most: nobody: nothing of a peer was refused" in capsys.readouterr().out


def test_the_newest_rounds_alone_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    with closing(Store(folder.events)) as store:
        for number, peer in ((1, ALICE), (2, BOB), (3, BOB)):
            event = replace(ROUND, round=number, trained_local=3, trained_external=1)
            store.append(
                event, PeerEvent(number, peer, 1, 0, {}), ExternalEvent(number, peer, "sort@1", number)
            )

    def told(last: int | None) -> dict[str, tuple[int, float]]:
        peers.show_peers(None, folder.path, last, watch=False, as_json=True)
        return {row["peer"]: (row["received"], row["share"]) for row in json.loads(capsys.readouterr().out)}

    assert told(2) == {BOB: (2, 0.25)} and told(1) == {BOB: (1, 0.25)}
    assert told(99) == told(None) == {ALICE: (1, 1 / 12), BOB: (2, 2 / 12)}
    with closing(Store(folder.events)) as store:
        store.append(replace(ROUND, round=4))
    peers.show_peers(None, folder.path, 1, watch=False, as_json=False)
    assert "no records of peers in its newest 1 round; of the whole run: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match="leave one out"):
        peers.show_peers("INVITE", None, 2, watch=False, as_json=True)


def test_a_silo_is_said_to_have_no_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(as_silo(load_config("tiny")))
    with closing(Store(folder.events)) as store:
        store.append(replace(ROUND, trained_external=0))
    peers.show_peers(None, folder.path, watch=False, as_json=False)
    assert "a silo, which has no peers" in capsys.readouterr().out


def said(*arguments: str) -> tuple[int, str]:
    """Exit code and words of `murmur peers`."""
    result = CliRunner().invoke(app, ["peers", *arguments])
    return result.exit_code, " ".join(result.output.split())


def run_that_met_alice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """`runs/join-1` in the folder that commands are typed in from now on."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("runs/join-1"))
    folder.create(load_config("tiny"))
    with closing(Store(folder.events)) as store:
        store.append(PeerEvent(1, ALICE, 3, 1, {}))
    return folder


def test_a_word_on_a_peer_is_kept_by_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_that_met_alice(tmp_path, monkeypatch)

    told = f"runs/join-1: {short_peer(ALICE)} rests from the next round on: nothing is fetched from it"
    assert said("--deny", short_peer(ALICE)) == (0, told)
    assert said("--run-dir", "runs/join-1", "--allow", BOB)[0] == 0  # one that the run has not met
    assert TrustFile(folder.trust).words() == {ALICE: "deny", BOB: "allow"}
    assert said("--by-record", ALICE)[0] == 0 and TrustFile(folder.trust).words() == {BOB: "allow"}
    for wrong, words in (
        (["--deny", "nobody"], "it has met "),
        (["--deny", "…"], "an empty name"),
        (["--deny", "x" * 60], "not a PeerID"),
        ([INVITE, "--deny", ALICE], "leave out the invite"),
    ):
        code, output = said(*wrong)
        assert code == 2 and words in output


def test_a_run_is_named_by_a_plain_argument_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_that_met_alice(tmp_path, monkeypatch)
    Path("invite.txt").write_text(INVITE)
    monkeypatch.setattr(peers, "Observer", FakeObserver)

    assert said("runs/join-1", "--json") == said("--run-dir", "runs/join-1", "--json")
    assert said("runs/join-1", "--deny", ALICE)[0] == 0 and TrustFile(folder.trust).words() == {ALICE: "deny"}
    for wrong, words in (
        (["runs/gone-1"], "runs/gone-1 holds no run"),
        (["runs/join-2"], "the nearest is runs/join-1"),
        (
            ["join-1"],
            "join-1 holds no run: name the folder that a run printed at its start; the nearest is runs/join-1; and",
        ),
        (
            ["whatever"],
            "folder that a run printed at its start; and it is no invite: an invite starts",
        ),
        (["runs/join-1", "--run-dir", "runs/join-1"], "leave one out"),
        (["./invite.txt"], "names a file"),
        (["/ip4/127.0.0.1/tcp/1"], "an invite starts with"),
        (["x" * 5000], "an invite starts with"),
    ):
        code, output = said(*wrong)
        assert code == 2 and words in output
    assert ALICE[-8:] in said(INVITE)[1]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_narrow_terminal_leaves_columns_out_and_cuts_no_name_and_no_head(
    tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    refused = {"all_wrong": 1234, "stale": 567, "duplicate": 89}
    with closing(Store(folder.events)) as store:
        for peer in (ALICE, BOB):
            store.append(PeerEvent(1234, peer, 2345, 1, refused, {"known": 12}, standing="newcomer"))
    peers.show_peers(None, folder.path, watch=False, as_json=False)
    shown = capsys.readouterr().out
    table = shown[: shown.index("helps most")]
    for peer in (ALICE, BOB):
        assert any(line.split()[:1] == [short_peer(peer)] for line in table.splitlines())
    assert max(map(len, shown.splitlines())) <= width
    assert {"peer", "received", "trained", "on", "refused"} <= set(table.split())
    assert "…" not in table.replace(short_peer(ALICE), "").replace(short_peer(BOB), "")
    assert "2345" in table.split() and ("newcomer" in table.split()) == (width >= 80)
    assert ("also last round" in " ".join(shown.split())) == (width < 110)


@pytest.mark.parametrize(
    ("received", "equal", "trained", "empty", "alone", "said"),
    [
        (
            64,
            60,
            4,
            12,
            0,
            "12 of 16 places for groups of peers stayed empty: 64 groups came, 4 were trained on, 60",
        ),
        (
            0,
            0,
            0,
            4,
            1,
            "4 of 4 places for groups of peers stayed empty: none came; no peer was heard in 2 of 4",
        ),
        (8, 0, 3, 3, 0, None),
        (0, 0, 0, 0, 0, None),
    ],
)
def test_the_end_tells_of_the_whole_run_what_peers_brought(
    tmp_path: Path, received: int, equal: int, trained: int, empty: int, alone: int, said: str | None
) -> None:
    """Over two sessions of it: each round here has half of what the whole has, or none."""
    store = tmp_path / "events.sqlite"
    for session in (0, 2):
        halves = {
            "received": received,
            "set_aside": equal,
            "trained_external": trained,
            "missing_external": empty,
        }
        event = replace(ROUND, **{name: count // 2 for name, count in halves.items()}, alone=bool(alone))
        idle = replace(ROUND, received=0, set_aside=0, trained_external=0, missing_external=0, alone=False)
        with closing(Store(store)) as kept:
            kept.append(replace(event, round=session + 1), replace(idle, round=session + 2))
    told = what_peers_brought(History(store))
    assert told is None if said is None else told is not None and told.startswith(said)


def test_a_figure_that_rounds_to_nothing_has_no_minus(tmp_path: Path) -> None:
    [row] = [replace(r, usefulness=-0.001) for r in peer_rows_of(tmp_path)]
    assert cells_of(row)["useful"] == "+0.00"


@pytest.mark.parametrize(
    ("useful", "error", "said"), [(0.154, 0.041, "+0.15±0.04"), (0.154, None, "+0.15"), (None, None, "-")]
)
def test_usefulness_stands_with_its_error(
    useful: float | None, error: float | None, said: str, tmp_path: Path
) -> None:
    [row] = [replace(r, usefulness=useful, usefulness_error=error) for r in peer_rows_of(tmp_path)]
    assert cells_of(row)["useful"] == said


def cells_of(row: PeerHistoryRow) -> dict[str, str]:
    return dict(zip(peers._HISTORY_COLUMNS, peers._history_cells(row, 0.5), strict=True))


def peer_rows_of(tmp_path: Path) -> list[PeerHistoryRow]:
    with closing(Store(tmp_path / "events.sqlite")) as store:
        store.append(PeerEvent(1, ALICE, 1, 0, {}))
    return peer_history(History(tmp_path / "events.sqlite"))
