"""Verifiers by name: `number`, a table of a name and its options, or a list of tables with weights."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from policies.error_words import complaint
from policies.tasks.verifiers.answer_format import Form
from policies.tasks.verifiers.json_value import JsonValue
from policies.tasks.verifiers.math import Math
from policies.tasks.verifiers.number import Number
from policies.tasks.verifiers.own import PACKAGE, Own
from policies.tasks.verifiers.regex import Regex
from policies.tasks.verifiers.text import Choice, Exact
from policies.tasks.verifiers.verifier import Verifier, VerifierError
from policies.tasks.verifiers.weighted import Weighted

MAX_PARTS = 8  # of a weighted sum
MAX_WEIGHT = 1_000_000  # of a part: sums of them stay numbers
Named = Exact | Number | Choice | Regex | JsonValue | Math | Form | Own
Kind = type[Named]
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "exact": Exact,
        "number": Number,
        "choice": Choice,
        "regex": Regex,
        "json": JsonValue,
        "math": Math,
        "format": Form,
    }
)
Described = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]  # as a config has it


def build_verifier(described: Described) -> tuple[Verifier, str]:
    """The verifier, and its canonical description with versions: equal descriptions, equal rewards.

    Raises VerifierError with what there is instead.
    """
    refuse_shape(described)
    if isinstance(described, str):
        described = {"name": described}
    if isinstance(described, Mapping):
        described = [described]
    if not 1 <= len(described) <= MAX_PARTS:
        raise VerifierError(f"a sum of {len(described)} verifiers; it takes 1 to {MAX_PARTS}")
    parts = [_part(table) for table in described]
    whole = sum(weight for _, weight in parts)
    canonical = [[weight / whole, verifier.version, verifier.model_dump()] for verifier, weight in parts]
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return (parts[0][0] if len(parts) == 1 else Weighted(parts)), text


def refuse_shape(described: object) -> None:
    """Raises VerifierError for what is neither a name nor tables, as a stranger's description may be."""
    parts = described if isinstance(described, list | tuple) else [described]
    if not isinstance(described, str) and not all(isinstance(part, Mapping) for part in parts):
        raise VerifierError(
            "verifier takes a name, a table or a list of tables such as { name = 'number', weight = 1 }; it is "
            f"{str(described)[:60]!r}"
        )


def _part(table: Mapping[str, Any]) -> tuple[Named, float]:
    options = dict(table)
    weight = options.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MAX_WEIGHT:
        raise VerifierError(
            f"a verifier's weight must be a number above 0, at most {MAX_WEIGHT:,}; it is {str(weight)[:40]!r}"
        )
    name = options.get("name")
    if not isinstance(name, str):
        raise VerifierError(
            f"a verifier's table needs name = one of {', '.join(KINDS)}; it has {_keys(table)}"
        )
    if PACKAGE in options and name not in KINDS:
        return _made(Own, options), float(weight)
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1)
        others = f"there are {', '.join(KINDS)}, and those of packages, which package = 'NAME' says"
        hint = f"the nearest is {near[0]!r}" if near else others
        raise VerifierError(f"no verifier is called {name!r}; {hint}")
    return _made(KINDS[name], options), float(weight)


def _keys(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {str(value)[:40]!r}" for key, value in list(table.items())[:8]) or "no keys"


def _made(kind: Kind, options: Mapping[str, Any]) -> Named:
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise VerifierError(f"verifier {options['name']}: {_in_words(error, kind)}") from None


def _in_words(error: ValidationError, kind: Kind) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        takes = ", ".join(option for option in kind.model_fields if option != "name")
        return f"it takes {takes or 'no options'}, and not {key!r}"
    if problem["type"] == "missing":
        return f"{key} is missing; it must be given"
    return f"{key}: {complaint(problem)}; it is {str(problem['input'])[:60]!r}"
