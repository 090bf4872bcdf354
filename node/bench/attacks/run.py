"""`murmur bench attacks`: what honest nodes still get of each other while a hostile host does its worst.

One swarm of real transports, daemons, gossip and verifiers; one attack after the other, each from one process on one
host. Their figures are groups a minute that passed every check of an honest receiver and come from an honest sender.
What needs no network is measured in this process, over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from node.bench.attacks.hostile_process import HostileProcess
from node.bench.attacks.measures import MEASURES
from node.bench.attacks.plan import CASES, DIALLED, JOINED, LIARS, PRIVATE, AttackPlan
from node.bench.attacks.report import SETTLING, AttackOutcome, checks
from node.bench.attacks.swarm import NODES, SEED, START_SECONDS, HonestSwarm, Place, place
from node.bench.kit.options import BenchError, BenchOptions, refuse_unknown
from node.bench.kit.report import Check, Interrupted, Progress, Report, Row, spread
from node.bench.netlab.kernel import obstacle
from node.bench.netlab.lab import Lab
from node.storage.run_folder import new_run_folder
from policies.seeds import derive_generator
from swarm.wire.identity import Identity

BEFORE_SECONDS, AFTER_SECONDS = 40.0, 20.0
SEEDS = 5
ATTACK_SECONDS = 90.0  # the first SETTLING of them are not counted


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
    for kind, secret in (("open", b""), ("private", derive_generator(SEED, "attacks", "secret").bytes(32))):
        chosen = [case for case in cases if (case == PRIVATE) is bool(secret)]
        if not chosen:
            continue
        (folder / kind).mkdir(parents=True)
        with _swarm(folder / kind, progress, secret, on_lab=missing is None) as swarm:
            mallory = place(swarm.lab, "mallory", 100)
            for case in chosen:
                yield where, play(case, swarm, mallory, seconds, progress)


def play(case: str, swarm: HonestSwarm, mallory: Place, seconds: float, progress: Progress) -> AttackOutcome:
    """Peace, the attack, and peace again. Raises BenchError when the hostile process ends by itself."""
    progress(f"{case}: {BEFORE_SECONDS:g} s of peace, {seconds:g} s of attack, {AFTER_SECONDS:g} s after it")
    begun, idle = time.time(), swarm.usage()
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
    with ExitStack() as stack:
        process = stack.enter_context(HostileProcess(plan, mallory, swarm.folder / f"{case}.log"))
        while not process.begun:  # its imports are no part of the attack
            swarm.live(1.0)
        calm = time.time()
        joiners = stack.enter_context(_joiners(swarm, plan, process)) if case == JOINED else []
        struck, attacked = time.time(), swarm.usage()
        swarm.live(SETTLING)
        settled, knocked = time.time(), swarm.knocks()
        swarm.live(seconds - SETTLING)
        ended, hostile, at_end = time.time(), process.told(), swarm.usage()
    swarm.live(AFTER_SECONDS)
    outcome = AttackOutcome(
        case,
        begun,
        struck,
        ended,
        time.time(),
        tuple(swarm.deliveries),
        tuple(swarm.published),
        hostile,
        cores_before=attacked.cores_since(idle),
        cores_during=at_end.cores_since(attacked),
        hostile_cores=process.cpu_seconds / (ended - struck),
        calm_until=calm,
        joiners=tuple(joiners),
        dials=_dials(swarm, knocked, ended - settled) if case == DIALLED else None,
        counted=at_end.counted_since(attacked),
    )
    progress(
        f"{case}: {outcome.before:.0f} groups a minute before, {outcome.during:.0f} during, kept {outcome.kept:.2f}"
    )
    return outcome


def _dials(swarm: HonestSwarm, before: int | None, seconds: float) -> float | None:
    """Connections a minute to the stranger's address, of one honest node on average."""
    after = swarm.knocks()
    return None if before is None or after is None else 60.0 * (after - before) / seconds / len(swarm.nodes)


@contextmanager
def _joiners(swarm: HonestSwarm, plan: AttackPlan, process: HostileProcess) -> Iterator[list[str]]:
    """A node that comes back with nobody but liars to join through, and a new one with an honest peer among them.

    Until both are up, or had START_SECONDS for it, the attack has not begun: daemons take their time to start.
    """
    while process.told().get("liars", 0) < LIARS:
        swarm.live(1.0)
    liars = [f"{plan.hostile_address(n)}/p2p/{Identity.load(plan.key(n)).peer_id}" for n in range(LIARS)]
    honest = swarm.nodes[0].dialled_at
    back = swarm.rejoin(swarm.nodes[-1], liars)
    fresh = swarm.join([*liars, honest])
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not all(n.transport.status().healthy for n in (back, fresh)):
        swarm.live(1.0)
    try:
        yield [back.name, fresh.name]
    finally:
        swarm.leave(fresh)


@contextmanager
def _swarm(folder: Path, progress: Progress, secret: bytes, *, on_lab: bool) -> Iterator[HonestSwarm]:
    progress(f"starting {NODES} nodes{' of a private swarm' if secret else ''}; logs are in {folder}")
    if on_lab:
        with Lab(SEED) as lab, _started(HonestSwarm(lab, folder, secret)) as swarm:
            yield swarm
    else:
        with _started(HonestSwarm(None, folder, secret)) as swarm:
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
