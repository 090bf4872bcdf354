"""The chat template of models that have none: questions and answers as plain text, which base models carry on."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from policies.error_words import brief
from policies.plain_files import require_plain
from policies.policy import PolicyError
from policies.text.chat.settings import PLAIN, PromptSettings

MAX_BYTES = 2**20  # of a template's file; published ones have some 10 kB
NEXT_QUESTION = "Question:"
_SOURCE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'Question: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'Answer: ' + message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
)


def give_template(tokenizer: PreTrainedTokenizerBase, template_file: str) -> None:
    """Gives the tokenizer the file's template, or the plain one where it has none.

    It is saved and exported with the tokenizer, so that others prompt the model as it was trained. Raises PolicyError
    for a file that cannot be read.
    """
    if template_file not in ("", PLAIN):
        tokenizer.chat_template = _read(Path(template_file))
    elif template_file == PLAIN or tokenizer.chat_template is None:
        tokenizer.chat_template = plain_source(tokenizer)


def stop_texts(tokenizer: PreTrainedTokenizerBase, settings: PromptSettings) -> tuple[str, ...]:
    """Texts that end a completion: those that are set, or of the plain template its next question."""
    plainly = tokenizer.chat_template == plain_source(tokenizer)
    return settings.stop or ((NEXT_QUESTION,) if plainly else ())


def plain_source(tokenizer: PreTrainedTokenizerBase) -> str:
    """The plain template, begun as the tokenizer begins every text."""
    first = tokenizer("1")["input_ids"][:1]
    begins = tokenizer.bos_token is not None and first == [tokenizer.bos_token_id]
    return ("{{ bos_token }}" if begins else "") + _SOURCE


def _read(path: Path) -> str:
    try:
        require_plain(path)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise PolicyError(
                f"prompt.template_file: {path} has over {MAX_BYTES} bytes: it is no chat template"
            )
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"prompt.template_file: {path} cannot be read ({brief(error)}): give a Jinja file, or 'plain'"
        ) from error
