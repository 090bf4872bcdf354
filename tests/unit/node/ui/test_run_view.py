"""What a person reads: rewards as blocks, refusals with their reasons, a comparison that adds up."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from sample_events import ROUND

from node.config.reading import load_config
from node.config.roles import as_silo
from node.storage.events import EvaluationEvent, ExternalEvent, History, PeerEvent, Store
from node.ui import interrupts
from node.ui.peer_rows import peer_history
from node.ui.round_columns import columns_for, format_loss, format_refused, legend, plain_round, remarks_on
from node.ui.run_view import RunView, Screen, sparkline


def test_sparkline_spans_the_blocks_and_keeps_its_width() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([]) == ""
    assert len(sparkline([0.5] * 1000, width=24)) <= 24


def test_refusals_name_their_reasons_most_frequent_first() -> None:
    assert format_refused({}) == "0"
    assert format_refused({"stale": 1, "signature": 3}) == "4 (signature 3, stale 1)"


def test_a_round_alone_says_so() -> None:
    assert "no peers heard, training alone" in plain_round(replace(ROUND, alone=True, trained_external=0))
    assert "no peers heard" not in plain_round(ROUND)


def test_a_round_on_kept_groups_of_peers_is_not_called_alone() -> None:
    for kept in (replace(ROUND, alone=True, pool=3), replace(ROUND, alone=True, trained_external=0, pool=3)):
        line = plain_round(kept)
        assert "no peers heard; 3 of their groups still wait" in line and "training alone" not in line
    assert "the last groups of theirs" in plain_round(replace(ROUND, alone=True, trained_external=4, pool=0))


def test_columns_explain_themselves_and_fit_the_run() -> None:
    shared, alone, images = (load_config(name) for name in ("tiny", "smollm2", "digits"))
    names = [column.name for column in columns_for(shared)]
    assert names == [*names[:4], "published", "received", "refused", "waiting", "loss", "seconds"]
    line = plain_round(ROUND, columns_for(shared))
    for word in ("first tries 0.30 right, 3 hard", "trained on 4 own, 2 external", "waiting 0"):
        assert word in line
    told = legend(columns_for(shared))
    assert all(f"{name}: " in told for name in names if name not in ("round", "loss", "seconds"))
    assert "peers" not in plain_round(ROUND, columns_for(as_silo(alone))) + legend(
        columns_for(as_silo(alone))[:3]
    )
    assert "received" not in plain_round(ROUND, columns_for(as_silo(alone)))
    assert "hard" not in plain_round(ROUND, columns_for(images))  # an image is not right or wrong


def test_a_small_loss_is_no_zero() -> None:
    assert [format_loss(loss) for loss in (None, 0.0, 0.0144, -3.2e-5)] == [
        "-",
        "+0.0000",
        "+0.0144",
        "-3.20e-05",
    ]


def test_json_output_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    view = RunView("json", "run")
    view.say("for a person")
    view.on_round(ROUND)
    view.on_evaluation(EvaluationEvent(1, 0.5, {"sort@1": 0.5}))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["round", "evaluation"]
    assert lines[0]["refused"] == {"stale": 2}


def test_words_for_a_person_stay_out_of_json_and_are_said_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = RunView("json", "run")
    view.say("run folder runs/silo-1")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "run folder runs/silo-1\n")


def test_a_run_that_nobody_reads_any_more_does_not_end_as_if_it_were_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`murmur silo | head && murmur export` would take it for finished."""
    monkeypatch.setattr(interrupts, "_advice", [lambda: "saved is round 3; go on with: murmur run --resume"])
    view = RunView("plain", "run")
    view.check_output()
    view.reader_gone = True
    with pytest.raises(BrokenPipeError):
        view.check_output()
    assert (
        "nobody reads the output any more" in (said := capsys.readouterr().err) and "saved is round 3" in said
    )


def test_dealings_add_up_by_peer(tmp_path: Path) -> None:
    store = Store(tmp_path / "events.sqlite")
    store.append(PeerEvent(1, "alice", 2, 1, {"stale": 1}), PeerEvent(2, "bob", 5, 0, {}))
    store.append(PeerEvent(3, "alice", 1, 0, {"stale": 2, "length": 1}, {"encoding": 2}))
    store.append(*(ExternalEvent(3, "alice", "sort@1", seed) for seed in (1, 2)))
    store.close()
    rows = peer_history(History(tmp_path / "events.sqlite"))
    assert [(row.peer, row.last_round, row.received) for row in rows] == [("bob", 2, 5), ("alice", 3, 3)]
    assert rows[1].refused == {"stale": 3, "length": 1} and rows[1].set_aside == 1
    assert [row.left_out for row in rows] == [{}, {"encoding": 2}]
    assert [row.trained_on for row in rows] == [0, 2]


def test_a_round_that_ran_out_of_memory_says_what_to_set() -> None:
    short = replace(ROUND, shortage="out of memory in the update: set this")
    assert "out of memory in the update: set this" in plain_round(short)
    assert "out of memory" in remarks_on(short)


def test_a_round_whose_sampler_and_trainer_differ_says_so() -> None:
    off = replace(ROUND, logprob_mean=0.25, disagreement="what samples is not what trains; set this")
    assert "what samples is not what trains; set this" in plain_round(off)
    assert "log-probs 0.2 off" in remarks_on(off)
    assert remarks_on(ROUND) == ""
    assert "trains" not in plain_round(replace(ROUND, logprob_mean=1e-6))


def test_a_second_ctrl_c_gives_the_terminal_its_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live table hides it, and an end without unwinding left it so."""
    written: list[tuple[int, bytes]] = []
    monkeypatch.setattr(interrupts, "_write", lambda *said: written.append(said))
    monkeypatch.setattr(os, "_exit", lambda code: None)
    with Screen("live"):
        interrupts.leave(signal.SIGINT)
    assert written[0] == (1, b"\x1b[?25h") and b"stopped by Ctrl-C" in written[1][1]
    written.clear()
    interrupts.leave(signal.SIGINT)
    assert [said for descriptor, said in written if descriptor == 1] == [b""]


@pytest.mark.usefixtures("signals_heard")
@pytest.mark.parametrize(
    ("number", "first"),
    [
        (signal.SIGINT, "stopping after this round and saving; press Ctrl-C again to stop at once\n"),
        (
            signal.SIGTERM,
            "told to stop by SIGTERM: stopping after this round and saving; a second SIGTERM stops at once\n",
        ),
        (
            signal.SIGHUP,
            "told to stop by a closed terminal: stopping after this round and saving; a second SIGTERM stops at once\n",
        ),
    ],
)
def test_the_answer_to_a_signal_names_the_one_that_came(
    number: signal.Signals, first: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with RunView("plain", "run") as view:
        signal.raise_signal(number)
        assert view.should_stop()
    assert capfd.readouterr().err == first
