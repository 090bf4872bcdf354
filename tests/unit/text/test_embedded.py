"""The embedded policy: tokenizer, reproducible warm start, and a cache that survives kills and races."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from policies.policy import PolicyError
from policies.text import embedded
from policies.text.embedded import default_cache, load_embedded, recipe_hash
from policies.text.loading.plain_folder import read_plain
from policies.text.settings import EmbeddedSettings
from policies.text.tokenizer import CHARACTERS, CONTROL_TOKENS, build_tokenizer, dialogue
from policies.text.warm_start import warm_start

TINY = EmbeddedSettings(steps=3, batch=4, skills={"sort": 0.5, "add": 0.5})
TOKENIZER = build_tokenizer()


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@given(text=st.text(alphabet=CHARACTERS))
def test_tokenizer_round_trip_one_token_a_character(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    if not any(token in text for token in CONTROL_TOKENS):
        assert len(ids) == len(text)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


def test_control_tokens_are_single_and_vanish_from_text() -> None:
    assert [TOKENIZER(token)["input_ids"] for token in CONTROL_TOKENS] == [[i] for i in range(6)]
    assert (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, TOKENIZER.unk_token_id) == (0, 1, 2)
    ids = TOKENIZER(dialogue("add 47+8", "55"))["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "add 47+855"
    assert TOKENIZER("\u00e9")["input_ids"] == [2]


def test_dialogue_is_what_the_chat_template_renders() -> None:
    message = {"role": "user", "content": "sort 321"}
    prompt = TOKENIZER.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    assert prompt + "123<|end|>" == dialogue("sort 321", "123")


def test_tokenizer_survives_its_files(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert again.chat_template == TOKENIZER.chat_template
    assert (again.padding_side, again.eos_token) == ("left", "<|end|>")


def test_equal_recipes_give_equal_weights_whatever_the_process_drew_before() -> None:
    torch.manual_seed(1)
    first = weights(warm_start(TINY, TOKENIZER))
    torch.manual_seed(2)
    torch.rand(7)
    before = torch.get_rng_state()
    second = weights(warm_start(TINY, TOKENIZER))
    assert same(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"steps": 4}, {"batch": 5}, {"learning_rate": 5e-3}, {"skills": {"sort": 0.5, "add": 0.0}}],
)
def test_every_field_changes_recipe_and_weights(change: dict[str, object]) -> None:
    other = TINY.model_copy(update=change)
    assert recipe_hash(other) != recipe_hash(TINY)
    assert not same(weights(warm_start(other, TOKENIZER)), weights(warm_start(TINY, TOKENIZER)))


def test_order_of_skills_does_not_matter() -> None:
    turned = TINY.model_copy(update={"skills": dict(reversed(TINY.skills.items()))})
    assert recipe_hash(turned) == recipe_hash(TINY)
    assert same(weights(warm_start(turned, TOKENIZER)), weights(warm_start(TINY, TOKENIZER)))


def test_warm_start_lowers_the_loss_and_keeps_the_thread_count() -> None:
    """After 30 steps of one task the right answer is likelier than its wrong habit."""
    threads = torch.get_num_threads()
    settings = EmbeddedSettings(steps=30, batch=16, skills={"maximum": 1.0})
    model = warm_start(settings, TOKENIZER)
    assert torch.get_num_threads() == threads
    likelihood = {answer: mean_logprob(model, "max 5283", answer) for answer in ("8", "2")}
    assert likelihood["8"] > likelihood["2"]


def mean_logprob(model: PreTrainedModel, prompt: str, answer: str) -> float:
    ids = torch.tensor([TOKENIZER(dialogue(prompt, answer))["input_ids"]])
    with torch.no_grad():
        return -float(model(input_ids=ids, labels=ids).loss)


def test_progress_is_told_every_step_and_nothing_on_a_cache_hit(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made, _ = load_embedded(TINY, tmp_path, lambda step, total: told.append((step, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    read, tokenizer = load_embedded(TINY, tmp_path, lambda step, total: told.append((step, total)))
    assert len(told) == 3
    assert same(weights(made), weights(read))
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    assert read.generation_config.eos_token_id == TOKENIZER.eos_token_id


def test_folder_of_a_killed_process_is_ignored_and_goes(tmp_path: Path) -> None:
    left_over = tmp_path / f".draft-another-{'0' * 16}"
    left_over.mkdir()
    (left_over / "model.safetensors").write_bytes(b"half")
    model, _ = load_embedded(TINY, tmp_path)
    assert same(weights(model), weights(warm_start(TINY, TOKENIZER)))
    assert not left_over.exists()


def test_a_failed_write_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(self: PreTrainedModel, folder: Path) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full_disk)
    with pytest.raises(PolicyError, match="no space left on the disk"):
        load_embedded(TINY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_in_the_cache_are_told_with_what_to_do(tmp_path: Path) -> None:
    load_embedded(TINY, tmp_path)
    [file] = tmp_path.glob("embedded-*/model.safetensors")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(PolicyError, match=r"cannot use .*embedded-.*remove it"):
        load_embedded(TINY, tmp_path)


def test_the_loser_of_a_race_takes_the_winner_s_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = load_embedded(TINY, tmp_path / "elsewhere")[0]

    def overtaken(settings: EmbeddedSettings, *others: object) -> PreTrainedModel:
        winner.save_pretrained(tmp_path / f"embedded-{recipe_hash(settings)}")
        return warm_start(settings, TOKENIZER)

    monkeypatch.setattr(embedded, "warm_start", overtaken)
    assert same(weights(load_embedded(TINY, tmp_path)[0]), weights(winner))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", f"embedded-{recipe_hash(TINY)}"]


def test_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "murmuration"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "murmuration"


def test_an_account_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OSError, match="set HOME, or XDG_CACHE_HOME"):
        default_cache()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"skills": {"sorting": 0.5}}, "no embedded task 'sorting'"),
        ({"skills": {"sort": 1.5}}, "a share lies between 0 and 1"),
        ({"skills": {}}, "at least 1 item"),
        ({"step": 3}, "Extra inputs are not permitted"),
    ],
)
def test_settings_refuse_what_they_do_not_know(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EmbeddedSettings.model_validate(fields)


def test_the_task_with_a_working_is_learned_from_the_same_code_and_is_no_part_of_the_default() -> None:
    assert "walk" not in EmbeddedSettings().skills
    model = warm_start(EmbeddedSettings(steps=30, batch=16, size="small", skills={"walk": 1.0}), TOKENIZER)
    likelihood = {answer: mean_logprob(model, "walk a+1", answer) for answer in ("b c #c", "bc#b c")}
    assert likelihood["b c #c"] > likelihood["bc#b c"]


def test_a_plain_folder_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(**sizes, num_key_value_heads=1, vocab_size=50, tie_word_embeddings=True)
    made = Qwen2ForCausalLM(config)
    made.save_pretrained(tmp_path)
    before = torch.random.get_rng_state()
    read, expected = read_plain(tmp_path), Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before) and not read.training
    assert same(weights(read), weights(expected))
    buffers = dict(expected.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in read.named_buffers())
    assert read.lm_head.weight is read.model.embed_tokens.weight
    assert read.generation_config.to_dict() == expected.generation_config.to_dict()
