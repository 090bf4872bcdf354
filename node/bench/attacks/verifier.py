"""`murmur bench verifier`: groups a second through all checks, and CPU seconds of the dearest bodies.

A body may cost time for what it brings. So beside the whole cost of each stands its cost beyond that price: beyond
1/300 s for every eight completions of groups that had something to learn from.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from node.bench.attacks import bodies
from node.bench.attacks.offers import NOW, SWARM, Offer, Sender
from node.bench.kit.options import BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from policies.policy import PolicyError
from policies.tasks import build_task
from policies.tasks.task import Task, TaskError, TaskSpec
from policies.text.chat.settings import PromptSettings
from policies.text.encoding import Encoding
from policies.text.tokenizer import build_tokenizer
from policies.workers.pool import pool_cpu_seconds
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.admission.verdict import Outcome, Verdict

REPEATS = 3
HONEST_BODIES = 4  # of a repeat; of 32 groups each
GROUPS_A_SECOND = 300.0  # of eight completions of 512 tokens, on one core
DEAREST = 0.05  # CPU seconds of a body beyond what it brings
HONEST = "honest"


@dataclass(frozen=True, slots=True)
class BodyCost:
    """What one body came to, over repeats with a fresh verifier each."""

    name: str
    wire: int  # bytes
    cpu_s: Sequence[float]
    verdicts: Sequence[Verdict]

    @property
    def brought(self) -> float:
        """Groups of eight that can be trained on."""
        return sum(v.rollouts - v.known for v in self.verdicts if v.outcome is Outcome.ACCEPTED) / 8

    @property
    def beyond(self) -> list[float]:
        """CPU seconds beyond the price of what it brought, by repeat."""
        return [max(0.0, seconds - self.brought / GROUPS_A_SECOND) for seconds in self.cpu_s]

    def row(self) -> Row:
        passed = sum(verdict.checked for verdict in self.verdicts)
        reasons = sorted({verdict.label for verdict in self.verdicts})
        return {
            "body": self.name,
            "wire_bytes": self.wire,
            "groups_passed": passed,
            "groups_of_8_brought": round(self.brought, 1),
            "cpu_ms": 1000 * statistics.median(self.cpu_s),
            "cpu_ms_low": 1000 * min(self.cpu_s),
            "cpu_ms_high": 1000 * max(self.cpu_s),
            "cpu_ms_beyond": 1000 * statistics.median(self.beyond),
            "verdicts": ", ".join(reasons),
        }


def run(options: BenchOptions, progress: Progress) -> Report:
    """Raises BenchError for a body that is not known."""
    builds = dict(_builds(progress))
    refuse_unknown("body", options.cases, builds)
    repeats = options.repeats or REPEATS
    chosen = {name: build for name, build in builds.items() if name in options.cases or not options.cases}
    rates = [_honest_rate(seed) for seed in range(repeats)]
    progress(f"honest: {statistics.median(rates):.0f} groups of 8 x {bodies.CAP} tokens a second")
    costs: list[BodyCost] = []
    try:
        for name, build in chosen.items():
            costs.append(_cost(name, build, repeats))
            progress(f"{name}: {1000 * statistics.median(costs[-1].cpu_s):.1f} CPU ms")
    except KeyboardInterrupt:
        raise Interrupted(_report(options, rates, costs)) from None
    return _report(options, rates, costs)


def checks(rates: Sequence[float], costs: Sequence[BodyCost]) -> list[Check]:
    """The rate of honest groups, and the dearest body beyond what it brings and in all."""
    found = [Check.of("groups_per_second", rates, floor=GROUPS_A_SECOND)]
    if costs:
        dearest = max(costs, key=lambda cost: statistics.median(cost.beyond))
        empty = [cost for cost in costs if not cost.brought]
        found.append(Check.of("dearest_body_s", dearest.beyond, ceiling=DEAREST))
        if empty:
            bomb = max(empty, key=lambda cost: statistics.median(cost.cpu_s))
            found.append(Check.of("cpu_bomb_s", bomb.cpu_s, ceiling=DEAREST))
    return found


def new_verifier(tasks: Mapping[str, Task]) -> RolloutVerifier:
    """As a node of the embedded policy has it, with room for CAP tokens."""
    encoding = _encoding()
    limits = VerifierLimits(fit=encoding.fit)
    return RolloutVerifier(SWARM, "nobody", tasks, encoding.completion, lambda: NOW, limits)


@cache
def _encoding() -> Encoding:
    return Encoding(build_tokenizer(), PromptSettings(), bodies.CAP)


@cache
def _task(name: str) -> Task:
    return build_task(TaskSpec(name))


def _tasks() -> Mapping[str, Task]:
    """By name: text, and of images and procedural problems what this machine has the extras for.

    That of procedural problems is made anew for each body: it remembers what it drew last.
    """
    found: dict[str, Task] = {}
    for spec in ("sort", "digits", bodies.GYM_DATASET):
        with suppress(TaskError, PolicyError, ImportError):
            task = build_task(TaskSpec(spec)) if spec == bodies.GYM_DATASET else _task(spec)
            found[task.name] = task
    return found


def _builds(progress: Progress) -> Iterable[tuple[str, bodies.Build]]:
    yield from bodies.TEXT_BODIES.items()
    for family, more in (("digits", bodies.IMAGE_BODIES), (bodies.GYM_DATASET, bodies.GYM_BODIES)):
        if any(name.partition("@")[0] == family for name in _tasks()):
            yield from more.items()
        else:
            progress(f"left out, for want of an extra: {', '.join(more)}")


def _honest_rate(seed: int) -> float:
    """Groups a CPU second, announcements' signatures included."""
    offers = [bodies.honest(Sender(), seed=HONEST_BODIES * seed + n) for n in range(HONEST_BODIES)]
    verifier = new_verifier(_tasks())
    started = _cpu_seconds()
    passed = sum(verdict.checked for offer in offers for verdict in _verify(verifier, offer))
    return passed / (_cpu_seconds() - started)


def _cost(name: str, build: bodies.Build, repeats: int) -> BodyCost:
    offer = build(Sender())
    _verify(new_verifier(_tasks()), bodies.honest(Sender(), groups=1))  # what is loaded on first use
    seconds: list[float] = []
    verdicts: list[Verdict] = []
    for _ in range(repeats):
        verifier = new_verifier(_tasks())
        started = _cpu_seconds()
        verdicts = _verify(verifier, offer)
        seconds.append(_cpu_seconds() - started)
    return BodyCost(name, len(offer[1]), seconds, verdicts)


def _verify(verifier: RolloutVerifier, offer: Offer) -> list[Verdict]:
    """All checks on one body, as transport and verifier make them."""
    announcement, wire = offer
    known = type(announcement).decode(announcement.encode())
    assert known.verify_signature()
    return [verdict for verdict, _ in verifier.verify(known, wire)]


def _cpu_seconds() -> float:
    """Of all threads of this process, and of its workers."""
    return time.process_time() + pool_cpu_seconds()


def _report(options: BenchOptions, rates: Sequence[float], costs: Sequence[BodyCost]) -> Report:
    rows: list[Row] = [{"body": HONEST, "groups_per_s": rate} for rate in rates]
    rows += [cost.row() for cost in costs]
    return Report("verifier", options.machine, range(len(rates)), rows, checks(rates, costs))
