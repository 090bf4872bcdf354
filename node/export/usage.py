"""Python that loads an exported model without murmuration, for its card: it is run as it stands by a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from node.config.sections.policy import EmbeddedPolicyConfig, TextPolicyConfig
from policies.text.chat.template import spoken
from policies.text.loading.model_path import resolve

Policy = TextPolicyConfig | EmbeddedPolicyConfig


def usage_of(policy: Policy, where: str, prompt: str, stops: Sequence[str], *, adapter: bool) -> str:
    """`where`: path or hub id of the folder; `prompt`: a problem of its tasks; `stops`: texts that end an answer."""
    load = (
        _load_adapter(policy, where)
        if adapter
        else [f'answer = pipeline("text-generation", model={where!r})']
    )
    imports = ["from transformers import pipeline"]
    if adapter:
        imports = [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline",
        ]
    messages = [{"role": role, "content": text} for role, text in spoken(policy.prompt, prompt)]
    cap = policy.generation.max_new_tokens
    ending = f", stop_sequence={list(stops)!r}" if stops else ""
    return "\n".join(
        [
            *imports,
            "",
            *load,
            f"messages = {messages!r}",
            f'text = answer(messages, max_new_tokens={cap}{ending})[0]["generated_text"][-1]["content"]',
            *(
                f"text = text.partition({stop!r})[0]  # what it goes on to write behind an answer"
                for stop in stops
            ),
            "print(text)",
        ]
    )


def base_path(policy: TextPolicyConfig) -> str:
    """What the adapter's config names as its base: a hub id, or the path on this machine."""
    return resolve(policy.model.path)


def _load_adapter(policy: Policy, where: str) -> list[str]:
    base = repr(base_path(policy)) if isinstance(policy, TextPolicyConfig) else ""
    if base.lower().endswith(".gguf'"):
        file = Path(base.strip("'"))
        base = f"{str(file.parent)!r}, gguf_file={file.name!r}"
    elif isinstance(policy, TextPolicyConfig) and (revision := getattr(policy.model, "revision", None)):
        base = f"{base}, revision={revision!r}"
    return [
        f"base = AutoModelForCausalLM.from_pretrained({base})",
        f"model = PeftModel.from_pretrained(base, {where!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({where!r})",
        'answer = pipeline("text-generation", model=model, tokenizer=tokenizer)',
    ]
