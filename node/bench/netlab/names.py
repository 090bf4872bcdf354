"""Names of network namespaces: each names its owner, so that what a killed lab left behind can be found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FORM = re.compile(r"murmur-lab-([0-9]{1,10})-([0-9]{1,20})-([0-9]{1,10})-[a-z0-9-]{1,32}", re.ASCII)
_START_FIELD = 19  # of /proc/PID/stat, counted from behind the program's name


@dataclass(frozen=True, slots=True)
class Owner:
    """A process; numbers are used again, so the time at which it started is part of its name."""

    pid: int
    started: int  # clock ticks after boot

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process of that number; None where there is none."""
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return cls(pid, int(status.rpartition(")")[2].split()[_START_FIELD]))

    @property
    def alive(self) -> bool:
        return Owner.of(self.pid) == self


def namespace_name(owner: Owner, lab: int, host: str) -> str:
    """Unique while `owner` numbers its labs and a lab names its hosts."""
    name = f"murmur-lab-{owner.pid}-{owner.started}-{lab}-{host}"
    if not _FORM.fullmatch(name):
        raise ValueError(f"{host!r}: a host's name has 1 to 32 of a-z, 0-9 and -")
    return name


def left_behind(names: Iterable[str], alive: Callable[[Owner], bool]) -> list[str]:
    """The namespaces among `names` that labs made whose process is gone."""
    return [
        name
        for name in names
        if (form := _FORM.fullmatch(name)) and not alive(Owner(int(form[1]), int(form[2])))
    ]
