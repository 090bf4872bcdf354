"""Validation errors of pydantic in the words of a config: the key, what it must be, what it is, what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from policies.error_words import complaint

MAX_SHOWN = 60  # characters of a value that is told back

# pydantic's kind of error -> what the value must be; names in braces are the error's own figures.
REQUIREMENTS: Mapping[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "a string",
    "string_pattern_mismatch": "a string of the form {pattern}",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a section of keys",
    "mapping": "a section of keys",
    "model": "a section of keys",
    "union_tag_not_found": "a section of keys",
    "path": "a path",
    "is_instance_of": "{class}",
}


def explain(error: ValidationError, root: type[BaseModel], renamed: Mapping[str, str]) -> str:
    """A line for each key that is wrong. `renamed` holds keys of before and their names of today."""
    lines: dict[str, list[str]] = {}
    problems = error.errors(include_url=False)
    for problem in problems:
        if problem["type"] == "too_short" and any(
            _within(other["loc"], problem["loc"]) for other in problems
        ):
            continue  # a list of none that can be read: what is wrong with them is said
        path, section = _resolve(root, problem["loc"])
        if problem["type"] == "union_tag_invalid":
            path.append("type")
        where = ".".join(path) or "config"
        lines.setdefault(where, []).append(_say(problem, path, section, renamed))
    return "\n".join(f"{where}: {_joined(said)}" for where, said in lines.items())


def _within(inner: Sequence[str | int], outer: Sequence[str | int]) -> bool:
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def _say(
    problem: Mapping[str, Any], path: Sequence[str], section: type[BaseModel], renamed: Mapping[str, str]
) -> str:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "missing":
        return "missing; it must be given"
    if kind == "extra_forbidden":
        return _unknown_key(path, section, renamed)
    if kind in ("value_error", "assertion_error"):
        return complaint(problem)
    if kind == "too_short":
        return f"must have at least {context['min_length']}, has {context['actual_length']}"
    if kind == "too_long":
        return f"must have at most {context['max_length']}, has {context['actual_length']}"
    if kind == "union_tag_invalid":
        value = context["tag"]
    return f"must be {requirement(kind, context)}; it is {_shown(value)}{_near(value, context)}"


def requirement(kind: str, context: Mapping[str, Any]) -> str:
    """What a value must be, by pydantic's kind of error and its figures."""
    stem = kind
    for tail in ("_type", "_parsing_size", "_parsing", "_from_float", "_attributes"):
        stem = stem.removesuffix(tail)
    return REQUIREMENTS.get(kind, REQUIREMENTS.get(stem, "another kind of value")).format(**context)


def _joined(said: Sequence[str]) -> str:
    """The branches of a union each say what they want of one value: `must be A or B; it is C`."""
    heads = [line.removeprefix("must be ").partition("; it is ") for line in said]
    if len(said) == 1 or not all(line.startswith("must be ") for line in said):
        return "; ".join(dict.fromkeys(said))
    wanted = dict.fromkeys(head for head, _, _ in heads)
    return f"must be {' or '.join(wanted)}; it is {heads[-1][2]}"


def _unknown_key(path: Sequence[str], section: type[BaseModel], renamed: Mapping[str, str]) -> str:
    """Names the key that was meant as `--set` takes it; one of a list's table has no such name, and is named alone."""
    key = path[-1]
    before = "" if any(step.isdecimal() for step in path) else "".join(f"{step}." for step in path[:-1])
    known = list(section.model_fields)
    if (today := renamed.get(key)) in known:
        return f"this key is now called {before + today!r}"
    meant = getattr(section, "MEANT", {}).get(key)
    near = [meant] if meant else difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return (
        f"unknown key; did you mean {before + near[0]!r}?"
        if near
        else f"unknown key; known keys: {_listed(known)}"
    )


def _near(value: object, context: Mapping[str, Any]) -> str:
    """The choice that a mistyped one is nearest to."""
    choices = str(context.get("expected_tags", context.get("expected", ""))).replace(" or ", ", ")
    known = [name for choice in choices.split(",") if (name := choice.strip("' "))]
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    text = f"{value!r}" if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names))


def _resolve(root: type[BaseModel], location: Sequence[str | int]) -> tuple[list[str], type[BaseModel]]:
    """The key's path as its writer knows it, and the section that it stands in.

    A location also names the branch of every union on its way; those are steps between sections, not keys.
    """
    section, path = root, list[str]()
    choices: list[type[BaseModel]] = [root]
    free = False  # below a table whose keys are anybody's, as a task's parameters
    for place, step in enumerate(location):
        last = place == len(location) - 1
        if free or isinstance(step, int):
            path.append(str(step))
            free = False
        elif chosen := [c for c in choices if _tag_of(c) == step and step not in section.model_fields]:
            section = chosen[0]
        elif step in section.model_fields:
            path.append(step)
            annotation = section.model_fields[step].annotation
            choices, free = _models_in(annotation), _is_table(annotation)
            if choices and not last:
                section = choices[0]
        elif last and choices:
            path.append(step)  # an unknown key
    return path, section


def _tag_of(model: type[BaseModel]) -> object:
    return model.model_fields["type"].default if "type" in model.model_fields else None


def _is_table(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
