"""Models that sample otherwise than they train: found before the first rollout, and handled or refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import asked, made, teacher_forced
from transformers import Gemma3nTextConfig, PreTrainedModel

from policies.policy import PolicyError
from policies.text.engine import Engine, Request
from policies.text.engine.hf_fallback import GenerateFallback
from policies.text.engine.memory_plan import Footprint
from policies.text.engine.probe import probe_texts
from policies.text.engine.windows import PROBED_WINDOW, narrowed_windows

LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 6,
    "long_factor": [1.0 + 3 * i for i in range(6)],
    "original_max_position_embeddings": 40,
    "factor": 4.0,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}


def largest_difference(engine: Engine, model: PreTrainedModel) -> float:
    requests = asked(copies=2)
    found = engine.run(requests)
    return max(
        float((teacher_forced(model, request, one.token_ids) - torch.tensor(one.logprobs)).abs().max())
        for request, one in zip(requests, found, strict=True)
    )


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "deepseek_v3", "gpt_oss"])
def test_experts_latents_and_sinks_are_sampled_by_the_engine(name: str) -> None:
    model = made(name)
    engine = Engine(model, (), slots=5)
    assert engine._fallback is None
    assert largest_difference(engine, model) < 1e-4


@pytest.mark.parametrize("name", ["phimoe", "doge"])
@pytest.mark.parametrize("window", [6, 200])
def test_a_window_that_is_a_mask_alone_is_left_to_generate(
    name: str, window: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that is wider than any probe: it is narrowed while the model is probed."""
    model = made(name, sliding_window=window)
    engine = Engine(model, (), slots=5)
    assert engine._fallback is not None and "sampled by transformers' generate" in caplog.text
    assert largest_difference(engine, model) < 1e-4
    assert model.config.sliding_window == window


def test_a_window_that_attention_never_sees_is_found_by_its_numbers_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from policies.text.engine import probe

    monkeypatch.setattr(probe, "sliding_window", lambda _: None)
    engine = Engine(made("phimoe"), (), slots=5)
    assert engine._fallback is not None and "log-probs differ" in caplog.text


@pytest.mark.parametrize("window", [6, 300, 4096])
def test_probed_texts_pass_every_window(window: int) -> None:
    model = made("gemma3", sliding_window=window, max_position_embeddings=8192)
    with narrowed_windows(model):
        longest = max(map(len, probe_texts(model)))
        assert longest > model.config.sliding_window
    assert longest < PROBED_WINDOW + 20
    assert {layer.self_attn.sliding_window for layer in model.model.layers} == {None, window}
    assert model.config.sliding_window == window


def test_a_configuration_that_names_several_ends_is_sampled_as_any() -> None:
    """As those of Llama 3 and Gemma 3 do."""
    model = made("qwen2")
    model.config.eos_token_id = [3, 5]
    assert not {3, 5} & {token for ids in probe_texts(model) for token in ids}
    assert Engine(model, (), slots=5)._fallback is None


def test_a_model_that_padding_changes_is_sampled_a_row_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    model = made("rwkv")
    engine = Engine(model, (), slots=5)
    assert engine._fallback is not None and not engine._fallback.padded
    assert "on padded rows: log-probs differ" in caplog.text
    assert largest_difference(engine, model) < 1e-4


def test_a_model_that_cannot_be_sampled_as_it_trains_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    generate = GenerateFallback._generate

    def off(self: GenerateFallback, wave: Any) -> None:
        generate(self, wave)
        for sequence in wave.sequences:
            sequence.logprobs = [value - 0.1 for value in sequence.logprobs]

    monkeypatch.setattr(GenerateFallback, "_generate", off)
    with pytest.raises(PolicyError, match=r"cannot be sampled as it is trained \(log-probs differ"):
        Engine(made("mamba"), (), slots=5)


@pytest.mark.parametrize("argument", ["attention_mask", "position_bias"])
def test_a_mask_or_an_argument_that_is_unknown_is_refused(argument: str) -> None:
    from policies.text.engine.attention import UnsupportedError, attention_forward

    states = torch.zeros(1, 2, 3, 4)
    given: dict[str, Any] = {"attention_mask": None, argument: torch.zeros(1, 1, 3, 3)}
    with pytest.raises(UnsupportedError, match=r"a mask of the model's own|unknown here \(position_bias\)"):
        attention_forward(torch.nn.Identity(), states, states, states, **given)


@pytest.mark.parametrize(("rope", "longest"), [(LONG_ROPE, 40), (DYNAMIC, 256)])
def test_a_rollout_that_would_change_how_positions_are_rotated_is_refused(
    rope: dict[str, Any], longest: int
) -> None:
    model = made("llama", rope_parameters=rope)
    engine = Engine(model, (), slots=5)
    engine.require_room(longest - 1)
    with pytest.raises(
        PolicyError, match=rf"pass the {longest} up to which.*lower generation\.max_new_tokens"
    ):
        engine.require_room(longest)
    with pytest.raises(PolicyError, match=rf"a prompt of 20 tokens and {longest - 19} new ones"):
        engine.run([Request(tuple(range(1, 21)), 0, longest - 19)])
    assert largest_difference(engine, model) < 1e-4 if longest > 40 else True


def test_memory_is_planned_for_the_widest_of_unequal_layers() -> None:
    """Gemma 3n names every layer's own."""

    def activation(sizes: list[int]) -> int:
        config = Gemma3nTextConfig(num_hidden_layers=len(sizes), hidden_size=48, intermediate_size=sizes)
        model = SimpleNamespace(config=config, dtype=torch.float32)
        return Footprint.of(model, 1).activation  # type: ignore[arg-type]

    assert activation([96, 480, 96]) == activation([480, 480, 480]) > activation([96, 96, 96])
