"""`murmur doctor`: does this machine have what a node needs? Every finding that is not good says how to mend it."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from rich.text import Text

from node.config.packages import command_for, missing_packages
from node.config.packages import in_words as packages_in_words
from node.config.schema import Config
from node.runtime.transports import lone_transport, visitor_transport
from node.ui.invocation import murmur
from node.ui.patience import patient
from node.ui.run_view import new_console
from node.ui.terminal.window import in_window, say_lines
from policies.error_words import brief
from policies.hardware import free_memory, has_gpu, usable_cores
from policies.install_hints import install_extras
from policies.local_cache import default_cache, require_room
from policies.policy import PolicyError
from swarm.discovery.clock_watch import MAX_OFFSET
from swarm.errors import SwarmError, TransportDown
from swarm.exchange.autonat import Reachability
from swarm.transport.base import TransportStatus
from swarm.wire.invite import Invite
from swarm.wire.multiaddr import Address

GB = 10**9
# The embedded policy peaks at 1 GB in one process; a 135M policy with LoRA at 4-9 GB.
WANTED_MEMORY = 2 * GB
WANTED_DISK = 2 * GB
LARGE_PRESETS = ("sd3", "flux")
REWARD_MODEL = 4 * GB  # PickScore in float32
LARGER_GPU = "it takes a machine with such a GPU, or less of it by a smaller policy.source.height and width"

NAMED = len("diffusion")
TOLD = len("failure ") + NAMED + 1  # characters before what is said of a finding

State = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: State
    fact: str
    fix: str = ""


def examine(invite: Invite | None, config: Config | None = None) -> Iterator[Finding]:
    """Each check as it is made; one that itself breaks is a failure with its error as the fact.

    With an invite, peers of that swarm are asked whether they can dial this machine; with a config, the memory of its
    policy is planned.
    """
    visit = Visit(invite) if invite else None
    checks: Sequence[Callable[[], Finding]] = (
        check_python,
        check_torch,
        check_memory,
        check_disk,
        check_cache,
        check_port,
        check_daemon,
        partial(check_addresses, visit),
        *([partial(check_reach, visit), partial(check_clock, visit)] if visit else [check_clock]),
        check_extras,
        check_diffusion,
        *([partial(check_plan, config)] if config else []),
    )
    return map(_guarded, checks)


def show_findings(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Prints each finding as it comes, for some take long; returns exit code 3 if any is a failure, else 0."""
    found = []
    with patient("looking at this machine") as patience:
        for finding in findings:
            found.append(finding)
            if not as_json:
                _print_finding(finding)
                patience.spoke()
    if as_json:
        new_console().out(json.dumps([asdict(finding) for finding in found]), highlight=False)
    return 3 if any(finding.state == "failure" for finding in found) else 0


def _print_finding(finding: Finding) -> None:
    styles = {"ok": "green", "warning": "yellow", "failure": "red"}
    said = Text(in_window(f"{finding.state:<8}{finding.name:<{NAMED}} {finding.fact}", hang=TOLD))
    said.stylize(styles[finding.state], 0, len(finding.state))
    new_console().print(said, soft_wrap=True)
    if finding.fix:
        say_lines(f"{'':<{TOLD}}-> {finding.fix}", hang=TOLD + 3)


def check_python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", version)
    return Finding(
        "python", "failure", version, "use Python 3.11, 3.12 or 3.13: hivemind has no wheel for others"
    )


def check_torch() -> Finding:
    """Which device a policy would have. torch itself is loaded only where there is a GPU to ask for.

    Elsewhere it need not be, which spares some seconds: the daemon's own process loads it all the same.
    """
    version = metadata.version("torch")
    if has_gpu():
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            memory = f"{free / GB:.1f} of {total / GB:.1f} GB free"
            return Finding("device", "ok", f"torch {version}, {torch.cuda.get_device_name()}, {memory}")
        if torch.backends.mps.is_available():
            return Finding("device", "ok", f"torch {version}, Apple GPU")
        fix = "install a torch that is built for it, and its driver: https://pytorch.org/get-started"
        return Finding("device", "warning", f"torch {version} does not see this machine's GPU", fix)
    fact = f"torch {version}, CPU with {usable_cores()} cores"
    return Finding("device", "ok", fact, "enough for the embedded policy; models from 0.5B want a GPU")


def check_memory() -> Finding:
    free = free_memory()
    fact = f"{free / GB:.1f} GB free"
    if free >= WANTED_MEMORY:
        return Finding("memory", "ok", fact)
    return Finding(
        "memory", "warning", fact, "close other programs, or use policy.model.lora and a small token_budget"
    )


def check_disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    fact = f"{free / GB:.1f} GB free here"
    if free >= WANTED_DISK:
        return Finding("disk", "ok", fact)
    return Finding(
        "disk", "warning", fact, "free some space or choose a --run-dir elsewhere: checkpoints need room"
    )


def check_cache() -> Finding:
    """Where networks that are made on this machine are kept."""
    folder = default_cache()
    try:
        require_room(folder)
    except PolicyError as error:
        fact, _, fix = str(error).partition(": ")
        return Finding("cache", "failure", fact, fix)
    return Finding("cache", "ok", f"{folder} can be written")


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
        return Finding("daemon", "failure", str(error), f"silo runs work without it: {murmur('silo')}")


def check_addresses(visit: Visit | None = None) -> Finding:
    """Which kind of network this is, from the addresses of its interfaces."""
    own = [
        Address("ip6" if entry.family is socket.AF_INET6 else "ip4", entry.address.partition("%")[0], 0)
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    ]
    families = "IPv4 and IPv6" if any(a.family == "ip6" and not a.is_loopback for a in own) else "IPv4 only"
    public = [a.host for a in own if a.is_global]
    if public:
        return Finding("network", "ok", f"{families}; public address {public[0]}")
    if all(a.is_loopback for a in own):
        fix = f"connect it to a network, or run alone: {murmur('silo')}"
        return Finding("network", "warning", "no address but loopback: only nodes on this machine", fix)
    return Finding(
        "network",
        "ok",
        f"{families}; private addresses only: peers in the same network reach it, others through a router or NAT",
        ""
        if visit
        else f"{murmur('doctor', 'INVITE')} asks peers of a swarm whether they can dial this machine",
    )


class Visit:
    """One look at a swarm as a passer-by, for all checks that ask its peers."""

    def __init__(self, invite: Invite) -> None:
        self._invite = invite
        self._status: TransportStatus | TransportDown | None = None

    def status(self) -> TransportStatus:
        """Joins when it is first asked. Raises TransportDown with the cause, each time."""
        if self._status is None:
            try:
                with closing(visitor_transport(self._invite)) as transport:
                    transport.wait_ready()
                    self._status = transport.status()
            except TransportDown as error:
                self._status = error
        if isinstance(self._status, TransportDown):
            raise self._status
        return self._status


def check_clock(visit: Visit | None = None) -> Finding:
    """Against peers: a DHT takes nobody whose clock is off by more than MAX_OFFSET seconds."""
    if visit is None:
        fix = f"{murmur('doctor', 'INVITE')} compares it with the clocks of a swarm's peers"
        return Finding(
            "clock",
            "ok",
            f"not checked, as no peer was asked; peers refuse one that is off by more than {MAX_OFFSET:g} s",
            fix,
        )
    try:
        status = visit.status()
    except TransportDown as error:
        if "clock" in str(error):
            return Finding("clock", "failure", str(error), "see above; then try again")
        return Finding("clock", "warning", "not checked: no peer answered", "see the finding on reach")
    if status.clock_offset is None:
        return Finding(
            "clock", "warning", "not checked: no peer told the time", "try again with another invite"
        )
    if words := status.warnings.get("clock"):
        return Finding("clock", "failure", words, "a swarm's nodes need the same time")
    return Finding(
        "clock", "ok", f"within {abs(status.clock_offset):.1f} s of peers' ({MAX_OFFSET:g} s are taken)"
    )


def check_reach(visit: Visit) -> Finding:
    """Has peers dial back."""
    status = visit.status()
    ports = ", ".join(sorted({str(Address.parse(a).port) for a in status.addresses}))
    if status.reach is Reachability.OPEN:
        return Finding("reach", "ok", f"the peers that were asked can dial this machine (tried port {ports})")
    if status.reach is Reachability.UNKNOWN:
        fix = "try again with an invite that names more bootstraps"
        return Finding("reach", "warning", "no peer of the swarm was free to look", fix)
    return Finding(
        "reach",
        "warning",
        f"the peers that were asked cannot dial this machine (tried port {ports}): bodies go through mirrors, "
        "which works",
        "for direct exchange forward a TCP port to this machine and set swarm.listen to it and swarm.announce "
        "to the public address; to have mirrors at once set swarm.client_mode = true",
    )


def check_extras() -> Finding:
    extras = {"envs": "reasoning_gym", "gguf": "gguf", "observer": "libp2p"}
    missing = [extra for extra, module in extras.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return Finding(
            "extras", "ok", "reasoning-gym tasks, GGUF models, peers INVITE and LAN discovery are available"
        )
    return Finding("extras", "warning", f"not installed: {', '.join(missing)}", install_extras(*missing))


def check_diffusion() -> Finding:
    """Which diffusion presets could run here, the large ones beside the reward model."""
    from node.config.reading import load_config

    present = _gpu_memory()
    plans = {preset: _pipeline_plan(load_config(preset), present) for preset in LARGE_PRESETS}
    able = ["digits", *(preset for preset, plan in plans.items() if plan is None or plan.fits)]
    unable = {preset: plan for preset, plan in plans.items() if plan is not None and not plan.fits}
    missing = missing_packages(load_config("digits"))
    fact = f"{' and '.join(able)} can run here{' after an install' if missing else ''}"
    fix = command_for(missing) if missing else ""
    if unable:
        needs = " and ".join(f"{preset} ({plan.total / GB:.0f} GB)" for preset, plan in unable.items())
        fact += f"; {needs} cannot: {_gpu_words(present)}"
        fix = fix or f"{murmur('doctor', '--config', next(iter(unable)))} lists what takes it"
    return Finding("diffusion", "ok", fact, fix)


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """What a large diffusion model needs of a GPU, and whether one of this size has it."""

    words: str
    total: int  # bytes, with the reward model's
    fits: bool


def _pipeline_plan(config: Config, present: int) -> PipelinePlan | None:
    """None for other policies. Raises PolicyError for a pipeline whose shape is not known."""
    from node.config.sections.policy import DiffusionPolicyConfig
    from policies.diffusion.pipeline.memory_estimate import memory_estimate
    from policies.diffusion.pipeline.settings import PipelineSettings

    policy = config.policy
    if not isinstance(policy, DiffusionPolicyConfig) or not isinstance(policy.source, PipelineSettings):
        return None
    wanted = memory_estimate(policy.source, policy.trainer.rows)
    words = f"needs {wanted} of a GPU's memory, and {REWARD_MODEL / GB:.0f} GB more for the reward model"
    total = wanted.device + REWARD_MODEL
    return PipelinePlan(words, total, total <= present)


def _gpu_memory() -> int:
    """Bytes of the GPU that torch would use; 0 where it uses none."""
    if not has_gpu():
        return 0
    import torch

    return torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else 0


def _gpu_words(present: int) -> str:
    return f"this machine's GPU has {present / GB:.0f} GB" if present else "this machine has no GPU for that"


def check_plan(config: Config) -> Finding:
    """The memory of a policy, part by part, against what its device has free."""
    if missing := missing_packages(config):
        return Finding("plan", "failure", packages_in_words(missing), command_for(missing))
    if config.policy.type == "diffusion":
        return _check_drawing(config)
    from node.runtime.build import device_of
    from node.runtime.memory import in_words, plan_memory, remedy_of

    fit = plan_memory(config, device_of(config))
    if fit is None:
        return Finding("plan", "ok", "no plan is needed: the language model that murmur makes is small")
    return Finding("plan", "ok" if fit.fits else "failure", in_words(fit), "" if fit.fits else remedy_of(fit))


def _check_drawing(config: Config) -> Finding:
    present = _gpu_memory()
    try:
        plan = _pipeline_plan(config, present)
    except PolicyError as error:
        return Finding("plan", "warning", f"{error}; {_gpu_words(present)}", "try a few rounds of it")
    if plan is None:
        return Finding("plan", "ok", "no plan is needed: the network that draws digits is small")
    fact = f"it {plan.words}; {_gpu_words(present)}"
    return Finding("plan", "ok" if plan.fits else "failure", fact, "" if plan.fits else LARGER_GPU)


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (OSError, ImportError, RuntimeError, SwarmError) as error:
        name = getattr(check, "func", check).__name__.removeprefix("check_")
        return Finding(
            name,
            "failure",
            f"{type(error).__name__}: {brief(error)}",
            "the check itself broke; see the error",
        )
