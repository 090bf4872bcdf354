"""murmur with signals at an exact moment: `python at_moment.py MODULE:NAME CALL SIGNALS ARGUMENTS...`

The CALL-th call of NAME, a function or method of MODULE, begins with SIGNALS, as in `INT,INT`, to this process and all
of its group, as a terminal sends them. Without NAME the moment is when MODULE is first imported.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from node.__main__ import main


class Moment:
    """A finder that lets the module be found as ever, and then waits in it for the moment."""

    def __init__(self, place: str, call: int, numbers: Sequence[int]) -> None:
        self._module, _, self._name = place.partition(":")
        self._call, self._numbers = call, numbers

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        assert spec and spec.loader
        load = spec.loader.exec_module

        def loaded(module: ModuleType) -> None:
            if not self._name:
                self._come()
            load(module)
            if self._name:
                self.watch(module)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec

    def watch(self, module: ModuleType) -> None:
        *owners, name = self._name.split(".")
        owner = functools.reduce(getattr, owners, module)
        watched = getattr(owner, name)

        @functools.wraps(watched)
        def watching(*arguments: Any, **named: Any) -> Any:
            self._call -= 1
            if self._call == 0:
                self._come()
            return watched(*arguments, **named)

        setattr(owner, name, watching)

    def _come(self) -> None:
        sys.stderr.write("the moment has come\n")
        sys.stderr.flush()
        for number in self._numbers:
            os.killpg(0, number)


if __name__ == "__main__":
    _, where, calls, names, *arguments = sys.argv
    signals = [signal.Signals[f"SIG{name}"] for name in names.split(",")]
    moment = Moment(where, int(calls), signals)
    if there := sys.modules.get(where.partition(":")[0]):
        moment.watch(there)
    else:
        sys.meta_path.insert(0, moment)  # type: ignore[arg-type]
    sys.argv = ["murmur", *arguments]
    main()
