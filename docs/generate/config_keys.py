"""The reference of every config key, read off the pydantic schema of `node/config` and what it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from node.config.reading import PRESETS
from node.config.schema import Config
from policies.settings import Settings

BOUNDS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "above {}",
    "maximum": "{} at most",
    "exclusiveMaximum": "below {}",
    "minItems": "{} or more of them",
    "minLength": "not empty",
    "pattern": "`{}`",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One config key, as a row of its section's table."""

    path: str
    type: str
    default: str
    bounds: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the config, in one of its variants where `type` chooses."""

    path: str  # dotted; empty for the top
    variant: str  # `policy.type = "text"`; empty where nothing chooses
    meaning: str
    keys: tuple[Key, ...]

    @property
    def title(self) -> str:
        name = f"[{self.path}]" if self.path else "Top level"
        return f"{name}, {self.variant}" if self.variant else name


def config_sections() -> list[Section]:
    """The whole config, a section after the one that names it; what two variants share comes once."""
    schema = Config.model_json_schema()
    found: list[Section] = []
    for section in _Reader(schema["$defs"]).sections(schema, "", ""):
        if not any(section.path == other.path and section.keys == other.keys for other in found):
            found.append(section)
    paths = [section.path for section in found]
    return [s if paths.count(s.path) > 1 else replace(s, variant="") for s in found]


def config_page() -> str:
    """The page, as Markdown."""
    presets = sorted({path.stem for folder in PRESETS for path in folder.glob("*.toml")})
    named = ", ".join(f"`{name}`" for name in presets)
    lines = [
        "# Every config key",
        "",
        f"Generated from the code. A config is a TOML file or one of the presets {named}; `--set key.path=value` "
        "overrides any key, and `murmur config show` prints the whole with every default filled in.",
    ]
    for section in config_sections():
        lines += ["", f"## {section.title}", "", section.meaning, ""]
        lines += ["| key | type | default | bounds | meaning |", "|---|---|---|---|---|"]
        for key in section.keys:
            cells = (f"`{key.path}`", key.type, key.default, key.bounds, key.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


class _Reader:
    """Walks a JSON schema from section to section."""

    def __init__(self, models: Mapping[str, Any]) -> None:
        self._models = models
        self._classes = {cls.__name__: cls for cls in _descendants(Settings)}

    def sections(self, model: Mapping[str, Any], path: str, variant: str) -> Iterator[Section]:
        """The section at `path` and those below it; `variant` is the choice of `type` that leads here."""
        keys, below = [], []
        for name, field in model["properties"].items():
            full = f"{path}.{name}" if path else name
            choices = [self._models[ref] for ref in _references(field) if "properties" in self._models[ref]]
            default = self._default(model, name, field, bool(choices))
            meaning = " ".join(field.get("description", "").split())
            keys.append(Key(full, self._type(field), default, _bounds(field), meaning))
            for choice in choices:
                chosen = choice["properties"].get("type", {}).get("const")
                told = f'{full}.type = "{chosen}"' if chosen and len(choices) > 1 else variant
                below.append((choice, full, told))
        yield Section(
            path, variant, " ".join(model.get("description", "").split()) if path else "", tuple(keys)
        )
        for choice, full, told in below:
            yield from self.sections(choice, full, told)

    def _default(self, model: Mapping[str, Any], name: str, field: Mapping[str, Any], section: bool) -> str:
        if name in model.get("required", ()):
            return "must be set"
        value = field.get("default", ...)
        if section and isinstance(value, dict):
            return f"`type = {_toml(value['type'])}`" if "type" in value else ""
        if value is ...:  # made by a factory, which the schema leaves out
            value = self._classes[model["title"]].model_fields[name].get_default(call_default_factory=True)
        return "none" if value is None else f"`{_toml(value)}`"

    def _type(self, field: Mapping[str, Any]) -> str:
        if "$ref" in field:
            target = self._models[field["$ref"].rsplit("/", 1)[1]]
            return "section" if "properties" in target else self._type(target)
        if "const" in field or "enum" in field:
            return ", ".join(f"`{_toml(value)}`" for value in field.get("enum", [field.get("const")]))
        if options := field.get("anyOf") or field.get("oneOf"):
            return _listed([self._type(option) for option in options if option.get("type") != "null"])
        if field.get("type") == "array":
            items = field.get("prefixItems")
            return f"{len(items)} numbers" if items else f"list of {self._type(field['items'])}"
        return "table" if field.get("type") == "object" else str(field["type"])


def _descendants(cls: type) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(names))


def _bounds(field: Mapping[str, Any]) -> str:
    parts = [field, *field.get("anyOf", ()), *([field["items"]] if "items" in field else ())]
    told = [
        text.format(f"{part[name]:g}" if isinstance(part[name], float) else part[name])
        for part in parts
        for name, text in BOUNDS.items()
        if name in part
    ]
    return "" if "prefixItems" in field else ", ".join(told)


def _references(field: Mapping[str, Any]) -> list[str]:
    """The models that a field can hold, by their names in the schema."""
    if "$ref" in field:
        return [field["$ref"].rsplit("/", 1)[1]]
    inner = [
        *field.get("anyOf", ()),
        *field.get("oneOf", ()),
        *([field["items"]] if "items" in field else ()),
    ]
    return [name for option in inner for name in _references(option)]


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value)
