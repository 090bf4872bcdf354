"""What a prompt looks like: system messages that are refused, template arguments, ends that are appended."""

from __future__ import annotations

import pytest
from tiny_families import FAMILIES, GEMMA, chatml_kind, gemma_kind, gpt2_kind, llama_kind, policy_of
from transformers import PreTrainedTokenizerFast

from policies.policy import PolicyError
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding


def prompt_of(tokenizer: PreTrainedTokenizerFast, system: str | None = None, **arguments: object) -> str:
    encoding = Encoding(tokenizer, PromptSettings(system=system, template_args=arguments), 16)
    return str(tokenizer.decode(encoding.prompt("1 + 2 = ?"), clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("name", FAMILIES)
def test_no_familys_prompt_ends_with_an_end(name: str) -> None:
    policy = policy_of(name)
    for text in ("1 + 2 = ?", "Größe 😀", "a"):
        prompt = policy._encoding.prompt(text)
        assert prompt[-1] not in policy._encoding.ends.stops
        assert text in FAMILIES[name].tokenizer().decode(prompt)


def test_a_system_message_that_is_refused_goes_before_the_users_and_it_is_said() -> None:
    tokenizer = gemma_kind()
    expected = "<bos><start_of_turn>user\nBe brief.\n\n1 + 2 = ?<end_of_turn>\n<start_of_turn>model\n"
    assert prompt_of(tokenizer, "Be brief.") == expected
    assert "no system message" in " ".join(Encoding(tokenizer, PromptSettings(system="Be brief."), 16).notes)
    assert "no system message" not in " ".join(Encoding(tokenizer, PromptSettings(), 16).notes)


def test_a_system_message_that_is_dropped_without_a_word_is_treated_alike() -> None:
    tokenizer = gemma_kind()
    tokenizer.chat_template = GEMMA.replace("raise_exception('System role not supported')", "''").replace(
        "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
    )
    assert "user\nBe brief.\n\n1 + 2 = ?" in prompt_of(tokenizer, "Be brief.")


def test_a_system_message_that_is_taken_stays_one() -> None:
    assert "<|im_start|>system\nBe brief.<|im_end|>" in prompt_of(chatml_kind(), "Be brief.")


def test_template_arguments_reach_the_template() -> None:
    assert prompt_of(chatml_kind()).endswith("assistant\n")
    assert prompt_of(chatml_kind(), enable_thinking=False).endswith("<think>\n\n</think>\n\n")


def test_an_argument_that_the_template_does_not_use_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(
        PolicyError, match=r"template_args\.enable_thinkin: .* no such argument; it takes: enable_thinking"
    ):
        prompt_of(chatml_kind(), enable_thinkin=False)
    with pytest.raises(PolicyError, match="it takes: none"):
        prompt_of(gpt2_kind(), enable_thinking=False)


@pytest.mark.parametrize(
    "template",
    [
        *("{{ messages[0]['text'] }}", "{% broken", "{{ raise_exception('no') }}", ""),
        *(
            "{% for i in range(10**10) %}{% endfor %}",
            "{{ 1 // 0 }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        ),
    ],
)
def test_a_template_that_renders_nothing_is_refused(template: str) -> None:
    tokenizer = chatml_kind()
    tokenizer.chat_template = template
    with pytest.raises(PolicyError, match="cannot render a user's turn"):
        Encoding(tokenizer, PromptSettings(system="Be brief."), 16)


def test_a_template_that_takes_text_in_parts_only_gets_parts() -> None:
    tokenizer = chatml_kind()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% for part in m['content'] %}{{ part['text'] }}"
        "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
    )
    assert prompt_of(tokenizer) == "<|im_start|>user1 + 2 = ?<|im_end|><|im_start|>"


def test_a_tokenizer_that_appends_its_end_does_not_end_prompts() -> None:
    tokenizer = llama_kind(append_end=True)
    assert tokenizer("1")["input_ids"][-1] == tokenizer.eos_token_id
    encoding = Encoding(tokenizer, PromptSettings(), 16)
    assert tokenizer.decode(encoding.prompt("1 + 2")) == "<s> Question: 1 + 2\nAnswer:"


def test_a_template_that_ends_every_turn_the_same_does_not_end_the_prompt() -> None:
    tokenizer = llama_kind(template="{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}")
    assert prompt_of(tokenizer) == "1 + 2 = ?"
