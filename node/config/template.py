"""A config as a TOML file to edit: every key there is, with its words from the schema, defaults as comments."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from node.config.schema import Config
from policies.setting_words import words_of
from policies.settings import Settings

WIDTH = 118  # of comments


def template_of(config: Config, head: str = "") -> str:
    """The text. It reads as `config`; taking the `# ` off a key's line changes nothing until its value is changed."""
    return "\n".join([*_comment(head), "", *_section(config, "", listed=False)]) + "\n"


def _section(section: Settings, path: str, *, listed: bool) -> Iterator[str]:
    """A table with its keys, then the tables below it, as TOML wants it. `listed`: one of an array of tables."""
    if path:
        yield from _comment(section.__doc__ or "")
        yield f"[[{path}]]" if listed else f"[{path}]"
    below: list[tuple[str, str, Any]] = []
    all_words = words_of(type(section))
    for name, field in type(section).model_fields.items():
        value, words = getattr(section, name), " ".join(all_words.get(name, "").split())
        if isinstance(value, Settings) or _is_list_of_tables(value):
            below.append((f"{path}.{name}" if path else name, words, value))
        else:
            yield from _key(name, value, words, field)
    for full, words, value in below:
        many = value if isinstance(value, tuple) else (value,)
        yield ""
        yield from _comment(words)
        yield from _section(many[0], full, listed=isinstance(value, tuple))
        for one in many[1:]:  # the words stand at the first
            yield from ("", *(line for line in _section(one, full, listed=True) if not line.startswith("#")))


def _key(name: str, value: Any, words: str, field: FieldInfo) -> Iterator[str]:
    """A key under its words; commented out where it has its default, and only named where it has no value."""
    yield from _comment(f"{words}{_choices(field.annotation)}")
    if value is None:
        yield f"#   {name} is not set"
        return
    default = field.get_default(call_default_factory=True)
    chosen = value != default or name == "type"
    yield f"{'' if chosen else '# '}{name} = {toml(_plain(value))}"


def _comment(words: str) -> list[str]:
    """Two marks, so that a key that is commented out stands apart from its words."""
    return [
        f"## {line}" for part in words.splitlines() for line in textwrap.wrap(" ".join(part.split()), WIDTH)
    ]


def _choices(annotation: Any) -> str:
    """Of a key that takes one of some words."""
    parts = [annotation, *get_args(annotation)]
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return f" One of: {', '.join(map(str, words))}." if len(words) > 1 else ""


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(one, Settings) for one in value)


def _plain(value: Any) -> Any:
    """Values of settings below a key, such as in a table of them, as plain ones."""
    if isinstance(value, Settings):
        return {name: _plain(part) for name, part in value if part is not None}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple | set | frozenset) else value


def toml(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(str(name))} = {toml(part)}" for name, part in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else repr(value)
