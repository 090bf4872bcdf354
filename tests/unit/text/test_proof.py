"""Comparisons before the first rollout are made once for one model, code, processor and choice of settings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_text import mixed_batch, problem, tiny_model, tiny_tokenizer

from policies.advantage import group_relative
from policies.policy import sample_groups
from policies.rollout import TrainGroup
from policies.text import proof as proofs
from policies.text import scoring
from policies.text.agreement import EXACT
from policies.text.engine import EngineProof, ways, weights
from policies.text.loading import fitness
from policies.text.model import attach_lora
from policies.text.policy import TextPolicy
from policies.text.proof import Proof, Proofs
from policies.text.settings import GenerationSettings, LoraSettings, TextSettings, TrainerSettings

SETTINGS = TextSettings(generation=GenerationSettings(max_new_tokens=12)).settled()
COMPARISONS = [
    (fitness, "_check_forward"),
    (scoring.CompletionScorer, "compare"),
    (scoring, "scoring_error"),
    (scoring, "needs_quiet"),
    (ways, "probe_trained"),
    (ways, "probe_copy"),
    (ways, "probe_engine"),
]


def policy_of(
    folder: Path, model: torch.nn.Module | None = None, settings: TextSettings = SETTINGS
) -> TextPolicy:
    model = attach_lora(tiny_model(), LoraSettings(rank=4), 0) if model is None else model
    return TextPolicy(model, tiny_tokenizer(), settings, proofs=folder)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the comparisons that are made, in order."""
    made: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            made.append(name)
            return real(*args, **options)

        return call

    for owner, name in COMPARISONS:
        monkeypatch.setattr(owner, name, noted(name, getattr(owner, name)))
    return made


def test_a_second_start_compares_nothing_and_is_the_same_policy(tmp_path: Path, compared: list[str]) -> None:
    first = policy_of(tmp_path)
    assert set(compared) == {name for _, name in COMPARISONS}
    compared.clear()
    second = policy_of(tmp_path)
    assert compared == []
    assert (second._engine.proof, second._trainer.proof) == (first._engine.proof, first._trainer.proof)
    asked = [problem("1+2="), problem("sort 528314")]
    for _ in range(2):
        rollouts = [sample_groups(policy, asked, 3, 0) for policy in (first, second)]
        assert rollouts[0] == rollouts[1]
        reports = [policy.update(mixed_batch()) for policy in (first, second)]
        assert reports[0] is not None and reports[1] is not None
        assert (reports[0].loss, reports[0].grad_norm) == (reports[1].loss, reports[1].grad_norm)


def test_a_proof_holds_for_any_fresh_adapter_and_any_length_of_run() -> None:
    keys = {
        proofs._key(attach_lora(tiny_model(), LoraSettings(rank=4), seed), SETTINGS.settled(rounds=rounds))
        for seed, rounds in ((0, 10), (1, 20))
    }
    assert len(keys) == 1


def _other_bit(model: torch.nn.Module) -> None:
    weight = next(model.parameters()).data
    weight.view(torch.int32)[3, 2] ^= 1


def _other_scale(model: Any) -> None:
    model.config.rms_norm_eps *= 2


CHANGES: dict[str, Callable[[torch.nn.Module], None]] = {
    "a bit of a weight": _other_bit,
    "the configuration": _other_scale,
    "what trains": lambda model: model.lm_head.requires_grad_(False),  # type: ignore[union-attr,operator]
    "a layer": lambda model: setattr(model, "lm_head", torch.nn.Identity()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_model_has_another_key(change: str) -> None:
    model = tiny_model()
    before = proofs._key(model, SETTINGS)
    assert proofs._key(tiny_model(), SETTINGS) == before
    CHANGES[change](model)
    assert proofs._key(model, SETTINGS) != before


def test_other_choices_and_surroundings_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()

    def adapted(**settings: Any) -> torch.nn.Module:
        return attach_lora(tiny_model(), LoraSettings(**settings), 0)

    def with_(part: str, **values: Any) -> TextSettings:
        return SETTINGS.model_copy(update={part: getattr(SETTINGS, part).model_copy(update=values)})

    keys = [
        proofs._key(model, SETTINGS),
        proofs._key(model, with_("trainer", epsilon_low=0.1)),
        proofs._key(model, with_("generation", temperature=0.5)),
        proofs._key(model, with_("generation", arithmetic="bfloat16")),
        proofs._key(model.to(torch.bfloat16), SETTINGS),
        proofs._key(adapted(rank=4), SETTINGS),
        proofs._key(adapted(rank=4, alpha=8.0), SETTINGS),
    ]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    keys.append(proofs._key(adapted(rank=4), SETTINGS))
    monkeypatch.setattr(proofs, "version", lambda name: "0.0")
    keys.append(proofs._key(adapted(rank=4), SETTINGS))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"engine": {"packed": true}, "trainer": null}'])
def test_a_damaged_proof_is_noticed_and_made_again(
    tmp_path: Path, compared: list[str], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy_of(tmp_path)
    [file] = tmp_path.glob("proof-*/*")
    whole = file.read_text()
    file.write_text(damage)
    compared.clear()
    policy_of(tmp_path)
    assert set(compared) == {name for _, name in COMPARISONS} and "damaged" in caplog.text
    assert file.read_text() == whole


def test_a_slower_way_is_compared_and_told_at_every_start(tmp_path: Path, compared: list[str]) -> None:
    slower = SETTINGS.model_copy(update={"trainer": TrainerSettings(gradient_checkpointing=True, bf16=False)})
    for _ in range(2):
        compared.clear()
        policy = policy_of(tmp_path, tiny_model(), slower)
        assert policy._trainer.path == "TRL" and policy._trainer.refusal
        assert "scoring_error" in compared
    assert "probe_engine" not in compared  # the engine's part is proven


def test_float32_in_place_of_bfloat16_is_told_at_every_start(
    tmp_path: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_cpu_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(weights, "LEAST_ROUNDED", 0)

    def started(settings: TextSettings) -> tuple[TextPolicy, list[str]]:
        model = tiny_model()
        with torch.no_grad():
            model.get_output_embeddings().weight.add_(64.0)  # bfloat16 knows such numbers to a quarter
        compared.clear()
        policy = policy_of(tmp_path, model, settings)
        return policy, [note for note in policy.notes if "float32" in note]

    for _ in range(2):
        policy, [note] = started(SETTINGS)
        assert "in bfloat16 log-probs differ" in note and "up to twice the time" in note
        assert policy._trainer.rounding == EXACT and "probe_engine" in compared
    exact = SETTINGS.generation.model_copy(update={"arithmetic": "float32"})
    for _ in range(2):
        policy, notes = started(SETTINGS.model_copy(update={"generation": exact}))
        assert notes == []
    assert compared == []


def test_a_proof_that_the_watch_contradicts_is_forgotten(tmp_path: Path, compared: list[str]) -> None:
    policy_of(tmp_path)
    policy = policy_of(tmp_path)

    def learned() -> None:
        groups = sample_groups(policy, [problem("1+2="), problem("sort 528314")], 4, 0)
        rewards = [[float(i % 2) for i, _ in enumerate(group.rollouts)] for group in groups]
        policy.update([TrainGroup(g, group_relative(r)) for g, r in zip(groups, rewards, strict=True)])

    learned()
    assert list(tmp_path.glob("proof-*"))
    policy._engine.refresh()
    policy._engine_is_behind = False
    with torch.no_grad():
        for weight in policy._engine._model.parameters():  # as a copy that is not the trained model
            weight.mul_(1.3)
    learned()
    assert not list(tmp_path.glob("proof-*"))
    compared.clear()
    policy_of(tmp_path)
    assert "probe_engine" in compared


def test_a_cache_that_cannot_be_written_costs_the_comparisons_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.INFO):
        policy_of(tmp_path / "file")
    assert "not kept" in caplog.text


def test_a_proof_without_room_for_a_copy_is_left_unused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: list[str]
) -> None:
    policy_of(tmp_path)
    monkeypatch.setattr(weights, "fits_copy", lambda *_: False)
    compared.clear()
    policy = policy_of(tmp_path)
    assert policy._engine._model is policy._engine._trained
    assert "probe_engine" in compared and policy._engine.proof is None


def test_parts_are_read_as_they_were_kept(tmp_path: Path) -> None:
    kept = Proofs(tmp_path, tiny_model(), SETTINGS)
    assert kept.read() is None
    proof = Proof(EngineProof(packed=True, lean=False, fused=False, token_bytes=64), None)
    kept.keep(proof)
    assert kept.read() == proof
