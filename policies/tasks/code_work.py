"""The owner's own code as a kind of work: makes problems and scores completions. A worker process runs this file.

Its argument names a class or function, `FILE.py:Name` or `package.module:Name`. It greets with {"source": 16 hex
digits over the module's source} or {"failed": why}. Then {"problem": [prompt, answer]} for {seed}, {"score": number}
for {problem, completion} of a task, or {answer, completion} of a verifier; else {"failed": why}.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

MEMORY_BYTES = 4 * 2**30
DUST = 1e-9  # that a sum of weights may come to beyond 1
MAX_CHARACTERS = 200_000  # of prompt and answer

_own: list[Any] = []  # the one object that was asked for


def greet(arguments: Sequence[str]) -> dict[str, Any]:
    """Loads the code. Whatever it raises is told to its owner."""
    try:
        module, name = _loaded(arguments[0])
        found = getattr(module, name)
        _own[:] = [found() if inspect.isclass(found) else found]
        source = hashlib.sha256(Path(inspect.getfile(module)).read_bytes()).hexdigest()[:16]
    except BaseException as error:  # noqa: BLE001  a module may end itself as it is loaded
        return {"failed": _said(error)}
    return {"source": source}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """A problem or a score. What the code raises is no verdict, or a seed without a problem: see `child`."""
    (own,) = _own
    if "seed" in question:
        return _problem(own.problem(question["seed"]))
    completion = question["completion"]
    if "problem" in question:
        return _score(own.score(tuple(question["problem"]), completion))
    return _score(own(completion, question["answer"]))


def _loaded(where: str) -> tuple[ModuleType, str]:
    module, _, name = where.rpartition(":")
    sys.dont_write_bytecode = True  # what was compiled a moment ago may be of another source
    if not module.endswith(".py"):
        if Path(f"{module}.py").is_file() and importlib.util.find_spec(module) is None:
            raise ImportError(f"{module} is a file and no installed package: write {module}.py:{name}")
        return importlib.import_module(module), name
    # Under a name of its own, and with its neighbours behind Python's own modules: a file may be called random.py.
    spec = importlib.util.spec_from_file_location(f"own_code_{Path(module).stem}", module)
    if spec is None or spec.loader is None:
        raise ImportError(f"{module} is no Python file")
    sys.path.insert(_behind_pythons_own(), str(Path(module).parent))
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded, name


def _behind_pythons_own() -> int:
    packages = [place for place, folder in enumerate(sys.path) if folder.endswith("-packages")]
    return packages[0] if packages else len(sys.path)


def _problem(made: Any) -> dict[str, Any]:
    if not (
        isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(part, str) for part in made)
    ):
        return {"failed": f"problem() has to give (prompt, answer), two texts; it gave {str(made)[:80]!r}"}
    if any(0xD800 <= ord(letter) < 0xE000 for part in made for letter in part):
        return {"failed": "problem() gave half of a surrogate pair, which is no character"}
    if not made[0].strip() or sum(map(len, made)) > MAX_CHARACTERS:
        return {"failed": f"problem() gave an empty prompt, or over {MAX_CHARACTERS} characters"}
    return {"problem": list(made)}


def _score(given: Any) -> dict[str, Any]:
    """A number of any library's; what rounding put beyond 0 or 1 is taken off."""
    if hasattr(type(given), "__float__") and -DUST <= (score := float(given)) <= 1 + DUST:
        return {"score": min(1.0, max(0.0, score))}
    return {"failed": f"it gave {str(given)[:80]!r} ({type(given).__name__}) for a score"}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:400].rstrip(": ")
