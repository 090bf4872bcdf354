"""What lies in a run's folder under the name of one of its files, and is none that can be read: it ends in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from command_line import murmur

from node.config.reading import load_config
from node.evaluation.command import _problems_of
from node.report.rounds_file import RoundsFile
from node.runtime.transports import last_invite
from node.storage.best_checkpoint import EVALUATION, value_of
from node.storage.checkpoint import CheckpointError, Checkpoints
from node.storage.events import History, Store
from node.storage.run_folder import RunFolder
from node.storage.store_file import StoreError
from node.storage.trust_lists import TrustFile, TrustLists
from swarm.network.peer_cache import PeerCache
from swarm.process import keep_private
from swarm.wire.identity import Identity

PEER = Identity(bytes(32)).peer_id


def in_time(act: Callable[[], object]) -> object:
    """What `act` gives or raises, within seconds: opening a pipe waits for ever."""
    found: list[object] = []

    def acted() -> None:
        try:
            found.append(act())
        except Exception as error:  # noqa: BLE001  handed to the test
            found.append(error)

    thread = Thread(target=acted, daemon=True)
    thread.start()
    thread.join(10)
    assert found, "it waits for a pipe"
    return found[0]


READERS: dict[str, Callable[[Path], object]] = {
    "ended.txt": lambda run: RunFolder(run).read_cause(),
    "member.secret": lambda run: RunFolder(run).read_secret(),
    "invite.txt": lambda run: last_invite(RunFolder(run)),
    ".lock": lambda run: (RunFolder(run).in_use(), RunFolder(run).lock()),
    "trust.json": lambda run: TrustFile(run / "trust.json").lists(),
    "trust.lock": lambda run: TrustFile(run / "trust.json").keep(PEER, "deny"),
    "peers.txt": lambda run: PeerCache(run / "peers.txt").addresses,
    "rounds.jsonl": lambda run: RoundsFile(run, 0),
    "node.log": lambda run: keep_private(run / "node.log"),
    "events.sqlite": lambda run: Store(run / "events.sqlite"),
}
PASSED_OVER = {"ended.txt": "", "trust.json": TrustLists(), "peers.txt": ()}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    found = in_time(lambda: READERS[name](tmp_path))
    if name in PASSED_OVER:
        assert found == PASSED_OVER[name]
    else:
        assert isinstance(found, OSError | StoreError) and "is a pipe" in str(found), found


def test_a_pipe_in_a_checkpoint_or_as_a_store_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "round-00000001"
    (folder / "policy").mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    os.mkfifo(folder / "policy" / "weights.safetensors")
    found = in_time(lambda: Checkpoints(folder.parent, 1).load_latest(None))  # type: ignore[arg-type]
    assert isinstance(found, CheckpointError) and "is a pipe" in str(found)
    os.mkfifo(tmp_path / "events.sqlite")
    found = in_time(lambda: History(tmp_path / "events.sqlite").rounds())
    assert isinstance(found, StoreError) and "is a pipe" in str(found)


def test_a_log_that_is_a_link_to_a_device_stays_so(tmp_path: Path) -> None:
    mode = Path("/dev/null").stat().st_mode
    (tmp_path / "node.log").symlink_to("/dev/null")
    keep_private(tmp_path / "node.log")
    assert Path("/dev/null").stat().st_mode == mode


def test_words_on_peers_that_are_nested_without_end_leave_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(load_config("tiny", ["rounds=1"]))
    run.trust.write_text("[" * 200_000)
    assert TrustFile(run.trust, deny=[PEER]).lists().deny == {PEER}
    told = murmur(monkeypatch, capsys, "peers", str(run.path), "--deny", PEER)
    assert told.code == 2 and "mend it, or move it away" in told.err
    assert run.trust.read_text() == "[" * 200_000


def test_a_judgement_without_end_gives_way(tmp_path: Path) -> None:
    for problems in ("1e999", "[" * 200_000):
        (tmp_path / "judged.json").write_text(f'{{"lines": [{{"problems": {problems}}}]}}')
        assert _problems_of(tmp_path / "judged.json") == 0


@pytest.mark.parametrize("figure", ["1e999", "1" + "0" * 400])
def test_a_figure_that_no_number_holds_is_damage(figure: str, tmp_path: Path) -> None:
    (tmp_path / EVALUATION).write_text(f'{{"by": "reward", "reward": {figure}}}')
    assert value_of(tmp_path) == float("-inf")
    (tmp_path / "rounds.jsonl").write_text(f'{{"round": 1}}\n{{"round": {figure}}}\n')
    RoundsFile(tmp_path, 5)
    assert (tmp_path / "rounds.jsonl").read_text() == '{"round": 1}\n'
