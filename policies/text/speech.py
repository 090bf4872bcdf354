"""Speech of a model without its weights: tokenizer and the ends of turns, which is all that prompts are made of."""

from __future__ import annotations

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from policies.text.chat.turn_ends import named_ends
from policies.text.loading.library_errors import as_policy_error
from policies.text.loading.model_path import library_place, resolve
from policies.text.loading.sizes import check_sizes
from policies.text.settings import ModelSettings


def load_speech(settings: ModelSettings) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """The tokenizer, and the ends that the generation config names. Raises PolicyError where they cannot be read."""
    where, given = library_place(resolve(settings.path))
    revision = settings.revision or "main"  # the library's own word for none
    with as_policy_error(
        f"cannot read the tokenizer of {settings.path}", "see docs/own-model.md for what it needs"
    ):
        check_sizes(where, revision=revision, **given)
        tokenizer = AutoTokenizer.from_pretrained(
            where, revision=revision, padding_side="left", trust_remote_code=False, **given
        )
        config = AutoConfig.from_pretrained(where, revision=revision, trust_remote_code=False, **given)
        generation = None if given else _published(where, revision)
        # transformers derives one from the model's config where none is published.
        return tokenizer, named_ends(generation or GenerationConfig.from_model_config(config))


def _published(where: str, revision: str) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(where, revision=revision)
    except OSError:
        return None
