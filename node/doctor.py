"""`murmur doctor`: does this machine have what a node needs? Every finding that is not good says how to mend it."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil
from rich.text import Text

from node.network import lone_transport
from node.show import new_console
from swarm.errors import SwarmError

GIB = 2**30
# The embedded policy peaks at 0.9 GiB in one process; a 135M policy with LoRA at 4-9 GiB.
WANTED_MEMORY = 2 * GIB
WANTED_DISK = 2 * GIB

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: State
    fact: str
    fix: str = ""


def examine() -> list[Finding]:
    """Runs every check; a check that itself breaks is a failure with its error as the fact."""
    checks: Sequence[Callable[[], Finding]] = (
        check_python,
        check_torch,
        check_memory,
        check_disk,
        check_port,
        check_daemon,
        check_extras,
    )
    return [_guarded(check) for check in checks]


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Prints the findings; returns exit code 3 if any is a failure, else 0."""
    if as_json:
        new_console().out(json.dumps([asdict(finding) for finding in findings]), highlight=False)
    else:
        styles = {"ok": "green", "warning": "yellow", "failure": "red"}
        for finding in findings:
            line = Text(f"{finding.state:<8}", styles[finding.state])
            new_console().print(line.append(f"{finding.name:<8} {finding.fact}", "default"), soft_wrap=True)
            if finding.fix:
                new_console().print(f"{'':<17}-> {finding.fix}", soft_wrap=True)
    return 3 if any(finding.state == "failure" for finding in findings) else 0


def check_python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", version)
    return Finding(
        "python", "failure", version, "use Python 3.11, 3.12 or 3.13: hivemind has no wheel for others"
    )


def check_torch() -> Finding:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        memory = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
        fact = f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {memory}"
        return Finding("device", "ok", fact)
    if torch.backends.mps.is_available():
        return Finding("device", "ok", f"torch {torch.__version__}, Apple GPU")
    fact = f"torch {torch.__version__}, CPU with {torch.get_num_threads()} threads"
    return Finding("device", "ok", fact, "enough for the embedded policy; models from 0.5B want a GPU")


def check_memory() -> Finding:
    free = psutil.virtual_memory().available
    fact = f"{free / GIB:.1f} GiB free"
    if free >= WANTED_MEMORY:
        return Finding("memory", "ok", fact)
    return Finding(
        "memory", "warning", fact, "close other programs, or use policy.model.lora and a small token_budget"
    )


def check_disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    fact = f"{free / GIB:.1f} GiB free here"
    if free >= WANTED_DISK:
        return Finding("disk", "ok", fact)
    return Finding(
        "disk", "warning", fact, "free some space or choose a --run-dir elsewhere: checkpoints need room"
    )


def check_port() -> Finding:
    with closing(socket.socket()) as probe:
        probe.bind(("0.0.0.0", 0))
        probe.listen(1)
        port = probe.getsockname()[1]
    fact = f"can listen on TCP ports (tried {port})"
    return Finding(
        "ports", "ok", fact, "for others to reach you from outside, forward one port and set swarm.announce"
    )


def check_daemon() -> Finding:
    """Starts a real p2p daemon alone in its own swarm and asks it for its address."""
    try:
        with closing(lone_transport()) as transport:
            transport.wait_ready()
            return Finding("daemon", "ok", f"p2p daemon answers at {transport.status().addresses[0]}")
    except SwarmError as error:
        return Finding("daemon", "failure", str(error), "silo runs work without it: murmur silo")


def check_extras() -> Finding:
    extras = {"envs": "reasoning_gym", "gguf": "gguf"}
    missing = [extra for extra, module in extras.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return Finding("extras", "ok", "reasoning-gym tasks and GGUF models are available")
    fix = f"pip install 'murmuration[{','.join(missing)}]'"
    return Finding("extras", "warning", f"not installed: {', '.join(missing)}", fix)


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (OSError, ImportError, RuntimeError) as error:
        name = check.__name__.removeprefix("check_")
        return Finding(
            name, "failure", f"{type(error).__name__}: {error}", "the check itself broke; see the error"
        )
