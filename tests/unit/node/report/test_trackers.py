"""Trackers: what they keep is read back by each one's own reader, and none of them can stop or slow a run."""

from __future__ import annotations

import json
import struct
import subprocess
import threading
import time
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from kept_rollouts import make_run
from sample_events import ROUND

from node.config.reading import load_config
from node.report import background, rounds_file
from node.report.background import BackgroundTracker
from node.report.extras import EXTRAS
from node.report.reports import Reports
from node.report.rounds_file import RoundsFile
from node.report.samples import Sample
from node.report.trackers import TRACKERS, Tracker
from node.storage.events import EvaluationEvent
from node.storage.run_folder import RunFolder
from policies.install_hints import install_extras
from swarm.transport.base import TransportStatus

ROOT = Path(__file__).parents[4]
SILENT = TransportStatus(True, (), 0, {})


def needs(library: str) -> pytest.MarkDecorator:
    reason = f"{library} is an extra that is not installed here"
    return pytest.mark.skipif(find_spec(library) is None, reason=reason)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer to load a library than a run waits for one at its end."""
    monkeypatch.setattr(background, "LAST_SECONDS", 600.0)


def play(
    folder: Path, kinds: list[str], first: int = 1, last: int = 3, settings: Sequence[str] = ()
) -> list[str]:
    """Reports of rounds `first` to `last`, and what they had to say."""
    config = load_config("tiny", [f"tracking.kinds={json.dumps(kinds)}", "seed=1", *settings])
    reports = Reports(config, RunFolder(folder))
    reports.begin(first - 1)
    if first == 1:
        reports.on_evaluation(EvaluationEvent(0, 0.125, {"sort@1": 0.125}))
    for number in range(first, last + 1):
        reports.on_round(replace(ROUND, round=number, reward=number / 10, loss=None), SILENT)
    reports.close()
    return reports.new_words()


def kept_lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "tracking" / "rounds.jsonl").read_text().splitlines()]


def test_jsonl_has_a_line_for_every_round(tmp_path: Path) -> None:
    assert play(tmp_path, ["jsonl"]) == []
    lines = kept_lines(tmp_path)
    assert [(line["round"], line.get("reward")) for line in lines] == [
        (0, None),
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
    ]
    assert (lines[0]["held_out"], lines[0]["held_out/task/sort@1"]) == (0.125, 0.125)
    assert (lines[1]["groups/own"], lines[1]["groups/external"], lines[1]["refused/stale"]) == (4, 2, 2)
    assert "loss" not in lines[1] and lines[1]["time"] > 1e9


def test_the_command_of_the_docs_shows_the_newest_round(tmp_path: Path) -> None:
    play(tmp_path / "runs" / "tracked", ["jsonl"])
    RoundsFile(tmp_path / "runs" / "tracked" / "tracking", 9).log(
        3, {"held_out": 0.5}
    )  # the evaluation at the end
    page = (ROOT / "docs" / "unattended.md").read_text(encoding="utf-8")
    [command] = [line for line in page.splitlines() if "runs/tracked/tracking/rounds.jsonl" in line]
    shown = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    newest = json.loads(shown)
    assert (newest["round"], newest["reward"]) == (3, 0.3)


def test_jsonl_is_on_unless_switched_off(tmp_path: Path) -> None:
    assert load_config("tiny").tracking.kinds == ("jsonl",)
    assert play(tmp_path, []) == [] and not (tmp_path / "tracking").exists()


def test_rounds_that_are_played_again_and_a_torn_line_are_forgotten(tmp_path: Path) -> None:
    play(tmp_path, ["jsonl"])
    with (tmp_path / "tracking" / "rounds.jsonl").open("a") as file:
        file.write('{"round": 2, "rew')
    play(tmp_path, ["jsonl"], first=3, last=4)
    assert [line["round"] for line in kept_lines(tmp_path)] == [0, 1, 2, 3, 4]


def test_the_jsonl_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_file, "MAX_BYTES", 200)
    file = RoundsFile(tmp_path, 0)
    for number in range(50):
        file.log(number, {"reward": 0.5})
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"rounds.jsonl", "rounds.jsonl.1", "rounds.jsonl.2"} and max(sizes.values()) < 400
    assert json.loads((tmp_path / "rounds.jsonl").read_text().splitlines()[-1])["round"] == 49


@needs("tensorboard")
@pytest.mark.usefixtures("patient")
def test_tensorboard_reads_its_own_files_and_a_resumed_run_replaces_what_it_plays_again(
    tmp_path: Path,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert play(tmp_path, ["tensorboard"]) == []
    assert play(tmp_path, ["tensorboard"], first=3, last=4) == []
    accumulator = EventAccumulator(str(tmp_path / "tracking" / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 3)) for e in accumulator.Scalars("reward")] == [
        (1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4),
    ]  # fmt: skip
    assert [(e.step, e.value) for e in accumulator.Scalars("held_out")] == [(0, 0.125)]


@needs("wandb")
@pytest.mark.usefixtures("patient")
def test_the_offline_folder_of_wandb_is_whole_and_holds_the_rounds(tmp_path: Path) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    assert play(tmp_path, ["wandb"]) == []
    (file,) = (tmp_path / "tracking" / "wandb").glob("offline-run-*/*.wandb")
    records: list[Record] = []
    while not any(record.HasField("exit") for record in records):  # its own process writes the last of it
        time.sleep(0.2)
        records = [Record.FromString(data) for data in wandb_records(file.read_bytes())]
    history = [
        {tuple(i.nested_key) or i.key: json.loads(i.value_json) for i in r.history.item} for r in records
    ]
    rewards = [line.get(("reward",), line.get("reward")) for line in history]
    assert [reward for reward in rewards if reward is not None] == [0.1, 0.2, 0.3]


def wandb_records(data: bytes) -> Iterator[bytes]:
    """The records of a W&B transaction log: blocks of 32 KiB of chunks with a checksum, LevelDB's layout."""
    assert data[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, place)
        chunk = data[place + 7 : place + 7 + length]
        if len(chunk) < length:
            return  # it is being written
        assert checksum == zlib.crc32(bytes([kind]) + chunk), place
        place, parts = place + 7 + length, parts + chunk
        if kind in (1, 4):  # the whole record, or its last chunk
            yield parts
            parts = b""
    assert not parts


@needs("trackio")
@pytest.mark.usefixtures("patient")
def test_trackio_reads_the_rounds_and_the_samples_of_its_folder(tmp_path: Path) -> None:
    """One test: the library settles its folder as it is imported, and a process plays one run."""
    make_run(tmp_path)
    assert play(tmp_path, ["trackio"], settings=["tracking.samples_every=2", "tracking.samples=16"]) == []
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs("murmuration", tmp_path.name)
    assert {log["step"]: log["reward"] for log in logs if "reward" in log} == {1: 0.1, 2: 0.2, 3: 0.3}
    (table,) = (log["samples"]["_value"] for log in logs if "samples" in log)
    assert len(table) == 9 and all(row["text"].startswith("    ") for row in table)
    assert (tmp_path / "tracking" / "trackio").is_dir()


@pytest.mark.parametrize("kind", sorted(set(TRACKERS) - {"jsonl"}))
def test_a_library_that_is_missing_is_told_once_and_the_others_go_on(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"tensorboard": "torch.utils.tensorboard"}.get(kind, kind)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    (words,) = play(tmp_path, [kind, "jsonl"])
    assert f"tracker {kind} is left out" in words and install_extras(kind) in words
    assert len(kept_lines(tmp_path)) == 4


def test_the_commands_for_a_missing_library_name_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) >= EXTRAS


class Odd:
    """A tracker that fails at its second line, or waits until it is let go."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.go, self.seen = fails, threading.Event(), list[int]()

    def log(self, round_number: int, figures: Mapping[str, float]) -> None:
        self.seen.append(round_number)
        if self.fails and len(self.seen) == 2:
            raise RuntimeError("no\nnetwork")
        if not self.fails:
            self.go.wait(60)

    def log_samples(self, round_number: int, samples: Sequence[Sample]) -> None:
        """None of these tests has any."""

    def close(self) -> None:
        self.seen.append(-1)


def test_a_tracker_that_fails_is_told_once_and_left() -> None:
    odd = Odd(fails=True)
    tracker = BackgroundTracker("odd", lambda: odd)
    for number in range(3):
        tracker.log(number, {})
    tracker.close()
    for number in range(2 * background.WAITING):
        tracker.log(number, {})
    assert tracker.new_words() == ["tracker odd is left out from now on (RuntimeError: no network)"]
    assert odd.seen == [0, 1] and tracker.new_words() == []


def test_a_tracker_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LAST_SECONDS", 0.4)
    odd = Odd(fails=False)
    tracker = BackgroundTracker("odd", lambda: odd)
    for number in range(background.WAITING + 50):
        tracker.log(number, {})
    tracker.close()
    assert tracker.new_words() == [
        f"tracker odd lags {background.WAITING} rounds behind: rounds are left out of it",
        "tracker odd did not end in time and was left",
    ]
    odd.go.set()


def test_a_tracker_that_cannot_be_made_is_told() -> None:
    def refuse() -> Tracker:
        raise OSError("read-only")

    tracker = BackgroundTracker("odd", refuse)
    tracker.close()
    assert tracker.new_words() == ["tracker odd is left out from now on (read-only)"]


def test_a_tracker_that_cannot_be_closed_ends_all_the_same() -> None:
    class Stuck(Odd):
        def close(self) -> None:
            raise RuntimeError("cannot")

    tracker = BackgroundTracker("odd", lambda: Stuck(fails=True))
    tracker.log(1, {})
    tracker.close()
    assert tracker.new_words() == ["tracker odd is left out from now on (RuntimeError: cannot)"]


def test_reports_never_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("tiny", ["seed=1"])
    reports = Reports(config, RunFolder(tmp_path))
    reports.begin(0)
    for name in ("on_round", "on_evaluation", "close"):
        monkeypatch.setattr(reports._monitor, name, lambda *_: 1 / 0)
    reports.on_round(ROUND, SILENT)
    reports.on_evaluation(EvaluationEvent(0, 0.1, {}))
    reports.close()
    assert [line["round"] for line in kept_lines(tmp_path)] == [1, 0]
