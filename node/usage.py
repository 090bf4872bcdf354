"""Errors of a command line in words: the option or argument, what it takes, what was meant by one that is not there."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from policies.error_words import no_such

SERVING = "; a bootstrap's invite.txt is there once it says `serving`"
TOO_MANY = r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)"


def usage_words(error: Any) -> str:
    """What click found wrong with a command line; one release of it tells more of that than another."""
    context, parameter = error.ctx, getattr(error, "param", None)
    option, message = getattr(error, "option_name", None), error.message.rstrip(".")
    if context is not None and hasattr(error, "possibilities"):
        return _no_option(error.option_name, context)
    if option is not None and " requires " in message:
        return f"{option} stands without its value"
    if parameter is not None and type(error).__name__ == "MissingParameter":
        return f"{_path(context)} lacks its {_label(parameter)}{_meaning(parameter)}"
    if parameter is not None:
        return _of_value(parameter, error)
    if context is not None and (extra := re.fullmatch(TOO_MANY, message)):
        takes = " ".join(context.command.collect_usage_pieces(context))
        return f"{_path(context)} does not read {extra[1]!r}: it takes {takes}; a path with spaces stands in quotes"
    return f"{message[:1].lower()}{message[1:]}"


def empty_word(command: Any, words: Sequence[str]) -> str | None:
    """What to say of an empty word, which would be read as if it had been left out; None where there is none such."""
    place = next((place for place, word in enumerate(words) if re.fullmatch(r"|--[a-z-]+=", word)), None)
    if place is None:
        return None
    path = list[str]()
    for word in words[:place]:
        if (inner := getattr(command, "commands", {}).get(word)) is not None:
            command = inner
            path.append(word)
    named = _named(command.params)
    parameter = named.get(words[place].removesuffix("=") or words[place - 1] if place else "")
    if parameter is None or getattr(parameter, "is_flag", False):
        parameter = next((each for each in command.params if each.param_type_name == "argument"), None)
    if parameter is None:
        return f"an empty word follows {' '.join(words[:place][-2:]) or 'murmur'}: leave it out"
    label, meaning = _label(parameter), _meaning(parameter)
    return (
        f"{label if label.startswith('-') else f'the {label}'} of murmur {' '.join(path)} is empty{meaning}: was it a "
        f"variable that is not set, or a command that printed nothing? Fill it in"
        f"{'' if parameter.required else ', or leave it out'}"
        f"{SERVING if 'invite' in f'{label}{meaning}'.lower() else ''}"
    )


def _no_option(name: str, context: Any) -> str:
    """Near are those that begin with it, before those that are written like it."""
    command = context.command
    if owners := [n for n, each in getattr(command, "commands", {}).items() if name in _named(each.params)]:
        return f"{name} follows the command that it is for, as in: murmur {owners[0]} {name}"
    known = {each.lstrip("-"): each for each in _named(command.get_params(context))}
    word = name.lstrip("-")
    begun = [each for each in known if len(word) > 1 and each.startswith(word)]
    near = begun or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    meant = f"did you mean '{known[near[0]]}'? " if near else ""
    return f"no option {name!r}; {meant}there are {', '.join(known.values())}"


def _of_value(parameter: Any, error: Any) -> str:
    """Of a value that an option or an argument does not take; our own checks say it themselves."""
    label, cause = _label(parameter), error.__cause__
    if not hasattr(cause, "errors"):
        return f"{label}: {error.message.rstrip('.')}"
    problem = cause.errors(include_url=False)[0]
    value = str(problem["input"])
    if problem["type"] == "value_error":
        return f"{label}: {no_such('value', value, map(str, get_args(_annotation(parameter))))}"
    return f"{label} {shlex.quote(value)}: give {_range(parameter) or _kind(problem)}"


def _range(parameter: Any) -> str:
    """`a whole number from 2 to 64`; empty where the option takes any, or something else."""
    declared = getattr(getattr(parameter, "type_descriptor", None), "parameter_info", None)
    least, most = getattr(declared, "min", None), getattr(declared, "max", None)
    if least is None:
        return ""
    kind = "a number" if _annotation(parameter) is float else "a whole number"
    return f"{kind} of {least} or more" if most is None else f"{kind} from {least} to {most}"


def _kind(problem: Mapping[str, Any]) -> str:
    from node.config.explain import requirement

    return requirement(problem["type"], problem.get("ctx", {}))


def _annotation(parameter: Any) -> Any:
    return getattr(getattr(parameter, "type_descriptor", None), "annotation", None)


def _label(parameter: Any) -> str:
    """`--run-dir`, `INVITE|RUN`."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name).strip("[]").upper()


def _meaning(parameter: Any) -> str:
    said = " ".join((getattr(parameter, "help", None) or "").split()).rstrip(".")
    return f" ({said})" if said else ""


def _named(parameters: Sequence[Any]) -> dict[str, Any]:
    """Options by their names."""
    return {name: each for each in parameters for name in each.opts if name.startswith("-")}


def _path(context: Any) -> str:
    """`tasks check`, whatever the program was called by."""
    names = list[str]()
    while context.parent is not None:
        names.append(context.info_name)
        context = context.parent
    return " ".join(reversed(names)) or "murmur"
