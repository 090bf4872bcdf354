"""Rollouts that go to trackers: each one's own reader gives them back, hostile texts among them made visible."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from kept_rollouts import HOSTILE, PEER, make_run
from test_trackers import needs, patient, play  # noqa: F401  a fixture

from node.report.samples import COLUMNS, SHOWN_CHARACTERS, samples_of
from swarm.visible_text import UNSAFE_CATEGORIES

EACH_ROUND = ["tracking.samples_every=1", "tracking.samples=16"]


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_half_of_a_rounds_samples_are_of_peers_and_own_ones_are_best_and_worst(tmp_path: Path) -> None:
    store = make_run(tmp_path).events
    mixed = samples_of(store, 2, 4)
    assert [sample.origin for sample in mixed] == ["own", PEER, PEER]  # one own rollout is all that there is
    own = samples_of(store, 1, 2)
    assert [sample.reward for sample in own] == [1.0, 0.0] and {sample.origin for sample in own} == {"own"}
    assert samples_of(store, 9, 4) == samples_of(tmp_path / "absent", 1, 4) == []


def test_texts_of_peers_are_visible_and_bounded(tmp_path: Path) -> None:
    samples = samples_of(make_run(tmp_path, (*HOSTILE, "a" * 50_000)).events, 2, 64)
    assert len(samples) == len(HOSTILE) + 2
    for sample in samples:
        assert {c for c in sample.text if unicodedata.category(c) in UNSAFE_CATEGORIES} <= {"\n"}
        assert len(sample.text) < SHOWN_CHARACTERS + 40


def test_jsonl_keeps_samples_in_a_file_of_their_own(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert play(tmp_path, ["jsonl"], last=2, settings=EACH_ROUND) == []
    lines = lines_of(tmp_path / "tracking" / "samples.jsonl")
    assert [line["round"] for line in lines] == [1] * 4 + [2] * 9 and set(lines[0]) == {"round", *COLUMNS}
    play(tmp_path, ["jsonl"], first=2, last=2, settings=EACH_ROUND)  # the round is played again
    assert lines_of(tmp_path / "tracking" / "samples.jsonl") == lines


def test_samples_come_every_few_rounds_and_none_where_none_are_wanted(tmp_path: Path) -> None:
    make_run(tmp_path)
    play(tmp_path, ["jsonl"], last=2, settings=["tracking.samples_every=2", "tracking.samples=1"])
    assert [line["round"] for line in lines_of(tmp_path / "tracking" / "samples.jsonl")] == [2]
    make_run(tmp_path / "other")
    play(tmp_path / "other", ["jsonl"], last=2, settings=["tracking.samples=0"])
    assert not (tmp_path / "other" / "tracking" / "samples.jsonl").exists()


def test_a_store_that_cannot_be_read_costs_the_samples_alone(tmp_path: Path) -> None:
    make_run(tmp_path).events.write_bytes(b"no database" * 500)
    assert play(tmp_path, ["jsonl"], last=2, settings=EACH_ROUND) == []
    assert len(lines_of(tmp_path / "tracking" / "rounds.jsonl")) == 3


@needs("tensorboard")
@pytest.mark.usefixtures("patient")
def test_tensorboard_reads_them_as_code(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make_run(tmp_path)
    assert play(tmp_path, ["tensorboard"], last=2, settings=EACH_ROUND) == []
    accumulator = EventAccumulator(str(tmp_path / "tracking" / "tensorboard")).Reload()
    first, second = accumulator.Tensors("samples/text_summary")
    text = second.tensor_proto.string_val[0].decode()
    assert (first.step, second.step) == (1, 2) and "<script>document.title" in text
    assert all(line.startswith("    ") for line in text.split("\n") if line)


@needs("wandb")
@pytest.mark.usefixtures("patient")
def test_wandb_keeps_a_table(tmp_path: Path) -> None:
    make_run(tmp_path)
    assert play(tmp_path, ["wandb"], last=2, settings=EACH_ROUND) == []
    found = sorted((tmp_path / "tracking" / "wandb").glob("offline-run-*/files/media/table/samples_*.json"))
    tables = [json.loads(file.read_text()) for file in found]
    assert {tuple(table["columns"]) for table in tables} == {COLUMNS}
    assert sorted(len(table["data"]) for table in tables) == [4, 9]
