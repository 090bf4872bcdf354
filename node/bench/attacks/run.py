"""`murmur bench attacks`: what honest nodes still get of each other while a hostile host does its worst.

One swarm of real transports, daemons, gossip and verifiers; one attack after the other, each from one process on one
host. Their figures are groups a minute that passed every check of an honest receiver and come from an honest sender.
What needs no network is measured in this process, over seeds.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from node.bench.attacks.measures import MEASURES
from node.bench.attacks.plan import CASES, AttackPlan
from node.bench.attacks.report import SETTLING, AttackOutcome, checks
from node.bench.attacks.swarm import NODES, SEED, HonestSwarm, Place, place
from node.bench.kit.child_process import start_child
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row
from node.bench.kit.spread import spread
from node.bench.netlab.kernel import obstacle
from node.bench.netlab.lab import Lab
from node.storage.run_folder import new_run_folder
from swarm.process import close_and_wait

BEFORE_SECONDS, AFTER_SECONDS = 40.0, 20.0
SEEDS = 5
ATTACK_SECONDS = 90.0  # the first SETTLING of them are not counted
_END_SECONDS = 20.0  # for a hostile process to stop its daemons


def run(options: BenchOptions, progress: Progress) -> Report:
    """Raises BenchError, LabError; Interrupted on Ctrl-C with the cases that are over."""
    refuse_unknown("case", options.cases, (*MEASURES, *CASES))
    seconds = options.seconds or ATTACK_SECONDS
    if seconds <= SETTLING:
        raise BenchError(
            f"--seconds {seconds:g}: the first {SETTLING:g} s of an attack are not counted; ask for more"
        )
    seeds = range(options.repeats or SEEDS)
    measured: dict[str, list[float]] = {}
    try:
        for name in _chosen(MEASURES, options):
            measured[name] = [MEASURES[name].measure(seed) for seed in seeds]
            progress(f"{name}: {', '.join(f'{figure:.2f}' for figure in measured[name])}")
    except KeyboardInterrupt:
        raise Interrupted(_report(options.machine, seeds, measured, [])) from None
    machine, outcomes = dict(options.machine), list[AttackOutcome]()
    try:
        for where, outcome in _attacked(_chosen(CASES, options), seconds, progress):
            machine |= where
            outcomes.append(outcome)
    except KeyboardInterrupt:
        raise Interrupted(_report(machine, seeds, measured, outcomes)) from None
    return _report(machine, seeds, measured, outcomes)


def _chosen(names: Iterable[str], options: BenchOptions) -> list[str]:
    return [name for name in names if name in options.cases or not options.cases]


def _attacked(
    cases: Sequence[str], seconds: float, progress: Progress
) -> Iterator[tuple[dict[str, str | int], AttackOutcome]]:
    """Each case's outcome, with where it was played. Nothing is started where there are no cases."""
    if not cases:
        return
    folder = new_run_folder("attacks").path
    missing = obstacle()
    network = "network namespaces" if missing is None else f"loopback addresses ({missing})"
    where: dict[str, str | int] = {"nodes": NODES, "network": network, "folder": str(folder)}
    with _swarm(folder, progress, on_lab=missing is None) as swarm:
        mallory = place(swarm.lab, "mallory", 100)
        for case in cases:
            yield where, play(case, swarm, mallory, seconds, progress)


def play(case: str, swarm: HonestSwarm, mallory: Place, seconds: float, progress: Progress) -> AttackOutcome:
    """Peace, the attack, and peace again. Raises BenchError when the hostile process ends by itself."""
    progress(f"{case}: {BEFORE_SECONDS:g} s of peace, {seconds:g} s of attack, {AFTER_SECONDS:g} s after it")
    begun = time.time()
    swarm.live(BEFORE_SECONDS)
    victims = {node.peer: node.place.listen for node in swarm.nodes}
    plan = AttackPlan(
        case,
        swarm.manifest.encode().hex(),
        mallory.listen,
        str(swarm.folder),
        victims,
        SEED,
        private=swarm.lab is None,
    )
    with HostileProcess(plan, mallory, swarm.folder / f"{case}.log") as process:
        while not process.begun:  # its imports are no part of the attack
            swarm.live(1.0)
        struck = time.time()
        swarm.live(seconds)
        ended, hostile = time.time(), process.told()
    swarm.live(AFTER_SECONDS)
    outcome = AttackOutcome(
        case, begun, struck, ended, time.time(), tuple(swarm.deliveries), tuple(swarm.published), hostile
    )
    progress(
        f"{case}: {outcome.before:.0f} groups a minute before, {outcome.during:.0f} during, kept {outcome.kept:.2f}"
    )
    return outcome


class HostileProcess:
    """The attacker, running inside the `with`; what it says it did is read as it comes."""

    def __init__(self, plan: AttackPlan, mallory: Place, log: Path) -> None:
        self._log = log
        with mallory.inside(), log.open("ab") as output:
            self._process = start_child("node.bench.attacks.hostile", plan.encode(), output)
        self._told: dict[str, int] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> HostileProcess:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdout
        close_and_wait(self._process, _END_SECONDS)
        self._reader.join(_END_SECONDS)
        self._process.stdout.close()

    @property
    def begun(self) -> bool:
        """Whether it has done anything yet."""
        return bool(self.told())

    def told(self) -> dict[str, int]:
        """What it did so far, by kind. Raises BenchError when it has ended by itself."""
        if self._process.poll() is not None:
            raise BenchError(f"the hostile process ended by itself; see {self._log}")
        return self._told

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with suppress(ValueError):
                self._told = json.loads(line)


@contextmanager
def _swarm(folder: Path, progress: Progress, *, on_lab: bool) -> Iterator[HonestSwarm]:
    progress(f"starting {NODES} nodes; logs are in {folder}")
    if on_lab:
        with Lab(SEED) as lab, _started(HonestSwarm(lab, folder)) as swarm:
            yield swarm
    else:
        with _started(HonestSwarm(None, folder)) as swarm:
            yield swarm


@contextmanager
def _started(swarm: HonestSwarm) -> Iterator[HonestSwarm]:
    try:
        swarm.start(NODES)
        yield swarm
    finally:
        swarm.close()


def _report(
    machine: Mapping[str, str | int],
    seeds: Sequence[int],
    measured: Mapping[str, Sequence[float]],
    outcomes: Sequence[AttackOutcome],
) -> Report:
    rows: list[Row] = [{"measure": name, **spread("figure", figures)} for name, figures in measured.items()]
    rows += [outcome.row() for outcome in outcomes]
    held = [
        Check.of(name, figures, floor=MEASURES[name].floor, ceiling=MEASURES[name].ceiling)
        for name, figures in measured.items()
    ]
    return Report("attacks", machine, list(seeds), rows, [*held, *checks(outcomes)])
