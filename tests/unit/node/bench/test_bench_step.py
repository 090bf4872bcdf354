"""The training-step benchmark: what it trains on, that both sides compute the same, and its report."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Interrupted
from node.bench.step import memory_peak, run
from node.bench.step.cases import CASES, draw_rows
from node.bench.step.memory_peak import measure_memory, peak_of_step
from node.bench.step.sharing import measure_sharing
from policies.text import scoring

SMALL = tuple(replace(case, prompt_tokens=80, new_tokens=4, rollouts=6, batch_rows=3) for case in CASES)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A saved Llama of a few thousand weights."""
    vocabulary = {"<pad>": 0, "<eos>": 1} | {f"t{index}": index for index in range(2, 32)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_rollouts_are_a_function_of_case_and_seed() -> None:
    for case in CASES:
        once, again, other = (draw_rows(case, seed, 48) for seed in (0, 0, 1))
        assert once == again != other
        assert len(once) == case.rollouts
        assert {(len(row.prompt_ids), len(row.token_ids)) for row in once} == {
            (case.prompt_tokens, case.new_tokens)
        }
        assert len({row.prompt_ids for row in once}) == 1
        assert len({row.token_ids for row in once}) == case.rollouts
        assert {token in range(48) for row in once for token in row.prompt_ids + row.token_ids} == {True}


def test_both_sides_take_the_same_step_in_the_same_micro_batches(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        scoring, "LEAST_SAVING_ON_CPU", 0
    )  # sharing a prompt does not pay in so small a model
    taken: dict[str, list[int]] = {"ours": [], "trl": []}
    for name, trainer in (("ours", run.GroupTrainer), ("trl", run.TrlStep)):
        original = trainer.training_step

        def counted(self: object, *args: object, name: str = name, original: object = original) -> object:
            taken[name].append(len(args[1]["completion_ids"]))
            return original(self, *args)

        monkeypatch.setattr(trainer, "training_step", counted)
    lines: list[str] = []
    (pair,) = run.measure_pairs(SMALL[0], model, False, [0], lines.append)
    assert {name: sizes[-2:] for name, sizes in taken.items()} == {"ours": [3, 3], "trl": [3, 3]}
    assert float(pair["gradient_difference"]) < 1e-3
    assert float(pair["ratio"]) == pytest.approx(float(pair["trl_s"]) / float(pair["ours_s"]))
    assert len(lines) == 1 and lines[0].startswith("prompt57 seed 0: ours ")


def test_the_report_has_the_checks_that_the_issue_names(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CASES", SMALL)
    monkeypatch.setattr(memory_peak, "COUNTS", (16,))
    report = run.run(BenchOptions(model=model, repeats=2), lambda _: None)
    assert [check.name for check in report.checks[1:4]] == [
        "prompt36_groups8",
        "prompt36_groups8_loss",
        "prompt36_groups8_gradient",
    ]
    assert (report.checks[1].floor, report.checks[2].holds, report.checks[3].holds) == (1.8, True, True)
    assert [(check.name, check.floor, check.ceiling) for check in report.checks[4:]] == [
        ("prompt57", 1.5, float("inf")),
        ("prompt256", 2.5, float("inf")),
    ]
    assert (report.checks[0].name, report.checks[0].ceiling) == ("memory_512", 1.15)
    assert [row["case"] for row in report.rows] == [
        *["memory_512", *["prompt36_groups8"] * 2],
        *["prompt57"] * 2,
        *["prompt256"] * 2,
    ]
    assert list(report.seeds) == [0, 1]
    assert report.machine["model"] == model


def test_sharing_changes_how_a_round_is_split_and_not_what_it_teaches(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "LEAST_SAVING_ON_CPU", 0)
    (pair,), checks = measure_sharing(model, [0], lambda _: None)
    assert (pair["ours_micro_batches"], pair["unshared_micro_batches"]) == (6, 1)
    assert all(check.holds for check in checks if not check.name.endswith("groups8"))


def test_more_rollouts_are_more_micro_batches(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LEAST_SAVING_ON_CPU", 0)
    found = [peak_of_step(model, False, rollouts) for rollouts in (16, 40)]
    assert [row["micro_batches"] for row in found] == [1, 3]
    assert all(float(row["peak_mib"]) >= 0 for row in found)


def test_the_memory_check_compares_the_most_with_the_fewest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without processes: what is measured is told."""
    peaks = {16: 100.0, 64: 90.0, 512: 130.0}

    class Told:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> Told:
            return self

        def __exit__(self, *_: object) -> None: ...

        def submit(self, function: object, model: str, bf16: bool, rollouts: int) -> Told:
            self.row = {"rollouts": rollouts, "peak_mib": peaks[rollouts]}
            return self

        def result(self) -> dict[str, float]:
            return self.row

    monkeypatch.setattr(memory_peak, "ProcessPoolExecutor", Told)
    lines: list[str] = []
    rows, (check,) = measure_memory("any", False, lines.append)
    assert [row["rollouts"] for row in rows] == [16, 64, 512]
    assert check.ours == pytest.approx(1.3) and not check.holds
    assert lines == ["memory: 16 rollouts", "memory: 64 rollouts", "memory: 512 rollouts"]


# In a process of its own: an interrupt that came a moment too early would end whoever runs the tests.
INTERRUPTED = """
import multiprocessing, os, signal, threading, time
from node.bench.step import memory_peak

def interrupt():
    while not multiprocessing.active_children():
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    memory_peak.in_own_process(time.sleep, 3600.0)
except KeyboardInterrupt:
    print("interrupted, children left:", len(multiprocessing.active_children()))
"""


def test_an_interrupt_does_not_wait_for_the_measuring_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "interrupted, children left: 0\n", done.stderr


def test_ctrl_c_keeps_what_was_measured(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure_memory", lambda *_: ([{"case": "memory_512"}], []))
    monkeypatch.setattr(run, "measure_sharing", interrupted)
    with pytest.raises(Interrupted) as caught:
        run.run(BenchOptions(model=model), lambda _: None)
    assert [row["case"] for row in caught.value.report.rows] == ["memory_512"]
