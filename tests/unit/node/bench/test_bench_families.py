"""The benchmark of families: what it finds of exact, of falling back, of refused and of absent ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from node.bench.families import measure, run
from node.bench.families.models import FAMILIES, RECURRENT, is_known, make_model
from node.bench.families.page import page_text
from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Report, Row
from policies.text.engine import Continuation, Engine, Request


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SCALE", 1)
    for name in ("SAMPLED", "SHORT"):
        case = getattr(measure, name)
        monkeypatch.setattr(measure, name, replace(case, rollouts=2, per_prompt=2, new_tokens=4))


def row_of(name: str) -> Row:
    return run.measure_family(name, FAMILIES[name], range(2))


def test_a_plain_family_is_exact_on_the_fastest_paths() -> None:
    row = row_of("Llama")
    assert (row["sampling"], row["exact"], row["greedy_equal"]) == ("engine", True, True)
    assert row["training"] == "shared prompt" and row["why"] is None
    assert 0 < float(str(row["over_generate_low"])) <= float(str(row["over_generate_high"]))


def test_a_small_model_is_neither_uniform_nor_certain() -> None:
    """Of either, every wrong pass would look right."""
    ids = torch.arange(5, 45)[None]
    for kind in FAMILIES.values():
        model = make_model(kind, 102, scale=4).eval()
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
        entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
        assert 1.0 < entropy < 0.95 * math.log(102), kind


def test_states_fall_back_and_say_why() -> None:
    row = row_of("LFM2")
    assert (row["sampling"], row["exact"]) == ("generate", True)
    assert "layers of kind conv" in str(row["why"])


def test_a_sampler_of_older_weights_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "refresh", lambda self: None)
    row = row_of("Llama")
    assert row["exact"] is False and float(str(row["sampled_off"])) > 1e-3


def test_a_sampler_that_takes_another_token_is_not_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Engine.run

    def other(self: Engine, requests: Sequence[Request], *args: Any) -> list[Continuation]:
        found = own(self, requests, *args)
        if not args:
            return found
        return [replace(one, token_ids=(*one.token_ids[:-1], 5 + one.token_ids[-1] % 2)) for one in found]

    monkeypatch.setattr(Engine, "run", other)
    row = row_of("Llama")
    assert (row["greedy_equal"], row["exact"]) == (False, False)


def test_what_the_library_lacks_or_cannot_run_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_known("no_such_family")
    absent = run.measure_family("Newer", "no_such_family", range(1))
    refused = run.measure_family("Older", "encoder-decoder", range(1))
    assert absent["sampling"] == refused["sampling"] == "absent"
    monkeypatch.setattr(measure, "make_model", broken_model)
    row = row_of("Llama")
    assert row["sampling"] == "refused" and "it cannot be run" in str(row["why"])
    assert tuple(row) == tuple(absent)


def broken_model(*args: Any, **options: Any) -> None:
    raise ValueError("no such layer")


def known_row(name: str, sampling: str, training: str, ratio: float) -> Row:
    figures = measure.Measured(sampling, training, None, None, 1e-6, 1e-6, True, (ratio, 2 * ratio), 1.0)
    return run._row(name, sampling, training, figures, "slow" if sampling != "engine" else None)


def test_figures_leave_absent_and_recurrent_families_out() -> None:
    rows = [
        known_row("Llama", "engine", "shared prompt", 2.0),
        known_row("Falcon", "generate", "TRL", 0.5),
        known_row("LFM2", "generate", "TRL", 0.5),
        run._row("Newer", "absent", "absent", None, "no such"),
    ]
    checks = {check.name: check for check in run.checks_of(rows)}
    assert (checks["engine_taken"].ours, checks["step_taken"].ours, checks["exact"].ours) == (0.5, 0.5, 1.0)
    assert checks["speed_vs_generate"].ours == 3.0 and checks["speed_vs_generate"].low == 2.0
    assert not checks["engine_taken"].holds and checks["speed_vs_generate"].holds
    assert set(FAMILIES) > RECURRENT and len(FAMILIES) == 22


def test_an_unknown_family_is_named_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'Gemma 2'"):
        run.run(BenchOptions(cases=("gemma 2",)), lambda line: None)


def test_the_page_holds_command_date_table_and_reasons(tmp_path: Path) -> None:
    rows = [
        known_row("Llama", "engine", "shared prompt", 2.0),
        known_row("LFM2", "generate", "TRL", 0.5),
        run._row("Newer", "absent", "absent", None, "transformers has no newer"),
    ]
    report = Report("families", {"commit": "abc"}, [0, 1], rows, run.checks_of(rows))
    text = page_text(report, "2030-01-02")
    assert "wrote this page on 2030-01-02, commit abc" in text and "murmur bench families --page" in text
    assert "| Llama | engine | shared prompt | 1.0e-06 | same | 3.00 (2.00 to 4.00) |" in text
    assert "| Newer | absent | absent | - | - | - |" in text and "- LFM2: slow." in text
    run.write_page(tmp_path / "families.md", report)
    assert (tmp_path / "families.md").read_text().startswith("# Model families")
