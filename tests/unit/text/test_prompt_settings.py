"""What `[policy.prompt]` puts round a problem: templates, examples, answer formats, stop strings, longest prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_families import chatml_kind, gpt2_kind, llama_kind, model_of, tokenizer_of
from tiny_text import problem, tiny_model, tiny_tokenizer

from policies.policy import PolicyError, sample_groups
from policies.rollout import Finish
from policies.tasks import TaskSpec, build_task
from policies.tasks.form_check import form_fault
from policies.tasks.verifiers.answer_format import AnswerFormat
from policies.tasks.verifiers.build import build_verifier
from policies.text.chat.settings import Example, PromptSettings
from policies.text.encoding import Encoding
from policies.text.policy import TextPolicy, in_words
from policies.text.settings import GenerationSettings, ModelSettings, TextSettings

EXAMPLES = (
    Example(question="1 + 1 = ?", answer="2"),
    Example(question="2 + 2 = ?", answer="It is \\boxed{4}"),
)


def read(tokenizer, text: str = "1 + 2 = ?", **settings) -> str:
    encoding = Encoding(tokenizer, PromptSettings(**settings), 64)
    return encoding.spelt(encoding.prompt(text))


@pytest.mark.parametrize("form", [form for form in AnswerFormat if form is not AnswerFormat.FREE])
def test_a_format_is_asked_for_written_and_kept_by_one_definition(form: AnswerFormat) -> None:
    assert form.instruction in read(chatml_kind(), answer_format=form.value)
    assert form.kept(f"3 and 4 make {form.written('7')}") and not form.kept("I do not know it.")
    verifier, rules = build_verifier({"name": "format", "form": form.value})
    assert verifier.score(form.written("7"), "9") == 1.0 and verifier.score("seven", "7") == 0.0
    assert form.value in rules


def test_examples_are_turns_before_the_question_with_answers_in_the_form() -> None:
    shown = read(chatml_kind(), examples=EXAMPLES, answer_format="boxed", system="Be brief.")
    turns = [part.partition("<|im_end|>")[0] for part in shown.split("<|im_start|>")]
    assert [turn.partition("\n")[0] for turn in turns if turn] == [
        *("system", "user", "assistant", "user", "assistant", "user", "assistant")
    ]
    assert turns[3].endswith("\\boxed{2}") and turns[5].endswith("It is \\boxed{4}"), "written so already"
    assert sum(AnswerFormat.BOXED.instruction in turn for turn in turns) == 3


def test_a_template_that_takes_no_earlier_turns_refuses_examples() -> None:
    tokenizer = chatml_kind()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(PolicyError, match=r"leave prompt\.examples out"):
        Encoding(tokenizer, PromptSettings(examples=EXAMPLES), 64)


def test_an_own_template_takes_the_place_of_the_models_and_is_saved_with_it(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}>")
    settings = TextSettings(prompt=PromptSettings(template_file=str(file)))
    tokenizer = chatml_kind()
    policy = TextPolicy(model_of("qwen2"), tokenizer, settings)
    assert tokenizer.decode(policy._encoding.prompt("1 + 2 = ?")) == "[user] 1 + 2 = ?\n>"
    policy.save(tmp_path)
    assert "[{{ m['role'] }}]" in (tmp_path / "weights" / "chat_template.jinja").read_text()
    for content, why in ((b"\xff\xfe", "cannot be read"), (b"x" * 2_000_000, "no chat template")):
        file.write_bytes(content)
        with pytest.raises(PolicyError, match=why):
            Encoding(chatml_kind(), settings.prompt, 64)
    with pytest.raises(PolicyError, match="cannot be read"):
        Encoding(chatml_kind(), PromptSettings(template_file=str(tmp_path / "none.jinja")), 64)


def test_a_model_without_a_template_gets_a_plain_one_begun_as_its_texts_are() -> None:
    assert read(gpt2_kind()) == "Question: 1 + 2 = ?\nAnswer:"
    assert read(llama_kind(), system="Add.").startswith("<s> Add.\n\nQuestion: 1 + 2")
    assert read(chatml_kind(), template_file="plain") == "Question: 1 + 2 = ?\nAnswer:"
    shown = read(gpt2_kind(), examples=EXAMPLES[:1])
    assert shown == "Question: 1 + 1 = ?\nAnswer: 2\n\nQuestion: 1 + 2 = ?\nAnswer:"


@pytest.mark.parametrize("name", ["qwen2", "gpt2", "llama"])
def test_a_stop_string_ends_a_completion_wherever_its_tokens_end(name: str) -> None:
    tokenizer = tokenizer_of(name)
    encoding = Encoding(tokenizer, PromptSettings(stop=("\nQuestion:", "END é")), 100)
    for text, kept in (("12\n\nQuestion: 3", "12\n"), ("a END é b", "a "), ("no end, Question", None)):
        ids = encoding.completion(text, Finish.LENGTH)
        ended = [place for place in range(1, len(ids) + 1) if encoding.stop_strings.ended(ids[:place])]
        assert bool(ended) == (kept is not None)
        if kept is not None:
            assert encoding.decode(ids[: ended[0]], Finish.STOP) == kept


def test_a_sampled_completion_ends_at_its_stop_string_and_goes_without_it() -> None:
    """Random weights write every letter soon: a rollout ends at the first `a`, its last token."""
    settings = TextSettings(
        generation=GenerationSettings(max_new_tokens=60), prompt=PromptSettings(stop=("a", "b", "c"))
    )
    policy = TextPolicy(tiny_model(), tiny_tokenizer(), settings)
    rollouts = sample_groups(policy, [problem("1+2=")], 16, seed=0)[0].rollouts
    controls = set(range(5))
    stopped = [r for r in rollouts if r.finish is Finish.STOP and r.token_ids[-1] not in controls]
    assert stopped
    for rollout in stopped:
        assert not set("abc") & set(rollout.text)
        assert policy._encoding.spelt([rollout.token_ids[-1]]) in "abc"
    assert all(not set("abc") & set(r.text) for r in rollouts)


def test_a_prompt_over_its_cap_refuses_the_run_or_is_not_taken() -> None:
    def policy(**prompt) -> TextPolicy:
        return TextPolicy(tiny_model(), tiny_tokenizer(), TextSettings(prompt=PromptSettings(**prompt)))

    short, long = problem("1+2="), problem("1+2+3+4+5+6+7+8+9=")
    with pytest.raises(PolicyError, match=r"21 tokens, and policy\.prompt\.max_tokens is 10.*skip"):
        policy(max_tokens=10).check_prompts([short, long])
    skipping = policy(max_tokens=10, too_long="skip")
    skipping.check_prompts([short, long])
    assert skipping.takes(short) and not skipping.takes(long)
    beyond = problem("1" * 250)
    assert not policy(too_long="skip").takes(beyond), "it leaves no room in the context"
    assert policy().takes(beyond), "refused by name instead"


def test_language_models_read_the_embedded_families_in_words() -> None:
    asked = build_task(TaskSpec("maximum", {})).problem(3)
    tokenizer = tokenizer_of("qwen2")
    words = in_words(TextSettings())
    for settings, text in ((TextSettings(), asked.prompt), (words, asked.words)):
        encoding = Encoding(tokenizer, settings.prompt, 64)
        assert text in encoding.spelt(encoding.problem_prompt(asked))
    assert "largest digit" in asked.words
    short = TextSettings(prompt=PromptSettings(wording="short"))
    assert in_words(short) is short


def test_a_format_that_the_verifier_does_not_read_is_told() -> None:
    walk = build_task(TaskSpec("walk", {}))
    assert "scores 0: choose another format" in (form_fault(AnswerFormat.BOXED, walk, walk.problem(1)) or "")
    add = build_task(TaskSpec("add", {}))
    assert [form_fault(form, add, add.problem(1)) for form in AnswerFormat] == [None] * 4


def test_settings_of_before_name_their_new_place() -> None:
    with pytest.raises(ValidationError, match=r"write policy\.prompt\.system"):
        ModelSettings.model_validate({"path": "x/y", "system": "Be brief."})
