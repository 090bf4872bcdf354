"""Reading a config: TOML presets, `--set a.b=c` laid over them, and the whole of a stored run."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node.config.data_files import make_paths_absolute
from node.config.schema import RENAMED, Config, ConfigError, parse_config
from policies.plain_files import parse_json, read_text

PRESETS = [Path(__file__).parents[1] / "presets", Path(__file__).parents[2] / "configs"]


def load_config(source: str | Path, overrides: Sequence[str] = (), *, for_role: bool = False) -> Config:
    """Reads a TOML file or preset name, lays `key.path=value` overrides over it and checks the whole.

    `for_role`: a role is laid over it next (`node.config.roles`), so what only a swarm may have is no fault where
    the config names none. Raises ConfigError with the offending key and the nearest known one.
    """
    file = find_config(source)
    tree = _read_toml(file)
    make_paths_absolute(tree, file.parent)
    for override in overrides:
        _lay_over(tree, override)
    make_paths_absolute(tree, Path.cwd())
    if for_role and tree.get("swarm", {"type": "silo"}) == {"type": "silo"}:
        tree["swarm"] = {"type": "dht"}
    return parse_config(tree)


def find_config(source: str | Path) -> Path:
    """A file as given, else the preset of that name. Raises ConfigError with the presets there are."""
    given = Path(source)
    if given.is_file():
        return given
    if given.exists():
        raise ConfigError(f"{source} is no config file: name a TOML file, or a preset")
    for folder in PRESETS:
        if (preset := folder / f"{given.name.removesuffix('.toml')}.toml").is_file() and given.name == str(
            given
        ):
            return preset
    known = sorted({path.stem for folder in PRESETS for path in folder.glob("*.toml")})
    near = difflib.get_close_matches(given.name.removesuffix(".toml"), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no config file or preset {str(source)!r}; {hint}presets: {', '.join(known)}")


def resolved_json(config: Config) -> str:
    """The whole config with every default filled in, as it is kept in the run folder."""
    return config.model_dump_json(indent=2)


def read_resolved(path: Path) -> Config:
    """Reads what `resolved_json` wrote, also under keys that were renamed since. Raises ConfigError."""
    try:
        if not (text := read_text(path)).strip():
            raise ValueError("it is empty")
        if not isinstance(tree := parse_json(text), dict):
            raise ValueError(f"it holds {text.strip()[:20]}, which is no config")
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): start a new run, or restore the file") from None
    try:
        return parse_config(_with_prompt_section(_with_new_names(tree)))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _with_prompt_section(tree: Any) -> Any:
    """A stored tree whose prompt was set in the model's section, as it was once."""
    policy = tree.get("policy") if isinstance(tree, dict) else None
    model = policy.get("model") if isinstance(policy, dict) else None
    if not isinstance(policy, dict) or not isinstance(model, dict):
        return tree
    moved = {key: model[key] for key in ("system", "template_args") if key in model}
    kept = {key: value for key, value in model.items() if key not in moved}
    return {**tree, "policy": {**policy, "model": kept, "prompt": {**moved, **policy.get("prompt", {})}}}


def _with_new_names(tree: Any) -> Any:
    """A stored tree with its keys of before under their names of today; a task's parameters are its own."""
    if isinstance(tree, list):
        return [_with_new_names(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        RENAMED.get(key, key): part if key == "params" else _with_new_names(part)
        for key, part in tree.items()
    }


def _read_toml(path: Path) -> dict[str, Any]:
    """A file as editors write it, with or without the mark of UTF-8 at its head."""
    try:
        return tomllib.loads(read_text(path, encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        backslash = "\\" in str(error)
        hint = "; in single quotes a backslash is one, as in pattern = '\\d+'" if backslash else ""
        raise ConfigError(f"{path}: not valid TOML: {error}{hint}") from None
    except ValueError:
        raise ConfigError(f"{path}: not valid TOML: a number of over 4,300 digits") from None


def _lay_over(tree: dict[str, Any], override: str) -> None:
    """Applies one `a.b=value`; the value is read as TOML and, failing that, as a bare string."""
    path, separator, text = override.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"--set takes key=value, got {override!r}")
    *parents, last = keys = path.strip().split(".")
    if not all(keys):
        raise ConfigError(f"--set takes key=value, got {override!r}: a part of the key is empty")
    branch = tree
    for key in parents:
        branch = branch.setdefault(key, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {path}: {key} is a value, not a section")
    try:
        branch[last] = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        branch[last] = text
    except ValueError:  # a number of over 4,300 digits
        raise ConfigError(f"--set {path}: no number is this long: choose a smaller one") from None
