"""A model that bfloat16 is too coarse for is sampled by the engine in float32, before anything slower is tried."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tiny_models import asked, made, teacher_forced
from transformers import PreTrainedModel

from policies.text.engine import Engine, ways, weights

HEAVY = 64.0  # bfloat16 knows numbers of this size to a quarter, float32 to a 200,000th


@pytest.fixture(autouse=True)
def _prefers_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a CPU with bfloat16 units does for models of some size."""
    monkeypatch.setattr(weights, "_cpu_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(weights, "LEAST_ROUNDED", 0)


def heavy(model: PreTrainedModel) -> PreTrainedModel:
    """All of a token's logits lie higher by as much, which changes no log-prob where a type can hold both."""
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(HEAVY)
    return model


def differences(engine: Engine, model: PreTrainedModel) -> Iterator[float]:
    requests = asked(copies=2)
    for request, found in zip(requests, engine.run(requests), strict=True):
        expected = teacher_forced(model, request, found.token_ids)
        yield float((expected - torch.tensor(found.logprobs)).abs().max())


def test_bfloat16_that_is_exact_enough_is_taken() -> None:
    engine = Engine(made("llama"), (), slots=5)
    assert engine.dtype == torch.bfloat16 and engine.widened is None and engine.proof is not None


@pytest.mark.parametrize("room", [True, False])
def test_a_model_that_bfloat16_is_too_coarse_for_is_sampled_in_float32(
    room: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(weights, "COPY_SHARE", 0.5 if room else 0.0)
    model = heavy(made("llama"))
    engine = Engine(model, (), slots=5)
    assert engine.path == "engine" and engine.dtype == torch.float32
    assert engine.widened is not None and "where rounding explains 30.00%" in engine.widened
    assert "bfloat16 is too coarse for it" in caplog.text
    assert (engine._model is not model) is room
    assert engine.proof is None, "it is compared, and told, at every start"
    assert max(differences(engine, model)) < 1e-3
    assert engine.figures["arithmetic"] == "float32"


def test_steps_too_coarse_on_an_exact_copy_are_taken_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bfloat16 shows only beside a cache: the copy's plain pass was within its limit."""
    probe = ways.probe_engine

    def coarse(model: PreTrainedModel, *others: object, **options: bool) -> int:
        if model.dtype == torch.bfloat16:
            raise ways.InexactError("log-probs differ from the model's own by 31.60%")
        return probe(model, *others, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ways, "probe_engine", coarse)
    model = made("llama")
    engine = Engine(model, (), slots=5)
    assert engine.dtype == torch.float32 and engine._lean is not None
    assert max(differences(engine, model)) < 1e-4


@pytest.mark.parametrize("name", ["mamba", "phimoe"])
def test_what_float32_does_not_mend_is_left_to_generate_in_the_type_that_was_wanted(name: str) -> None:
    engine = Engine(made(name, sliding_window=6), (), slots=5)
    assert engine.path == "generate" and engine.dtype == torch.bfloat16 and engine.widened is None
