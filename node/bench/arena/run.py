"""`murmur arena`: attacks on honest nodes with real training, undefended and defended, in one run.

Cells (attack, defence, seed) that are finished are kept in a folder; a second call with the same one goes on. They are
played one a core at a time, each in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from node.bench.arena.attacks import ATTACKS
from node.bench.arena.cell import CALM, CALM_AT_USUAL_RATE, ArenaCell, arm_of, play_cell
from node.bench.arena.defences import DEFAULT, SINGLE, UNDEFENDED
from node.bench.arena.plan import ArenaPlan, plan_of
from node.bench.arena.report import Arena, checks, rows
from node.bench.kit.cell_store import CellStore
from node.bench.kit.options import BenchOptions
from node.bench.kit.report import Interrupted, Progress, Report

SEEDS, SINGLE_SEEDS = 5, 2  # of the whole against nothing, and of single defences against their own attack
CALM_SEEDS = 2  # for each of the others, of what defences cost at the usual rate: a few per cent, and without attackers
FOLDER = Path("runs/arena")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one call is to measure."""

    attacks: Sequence[str]
    seeds: range
    plan: ArenaPlan
    store: CellStore[ArenaCell]
    jobs: int

    @classmethod
    def of(cls, options: BenchOptions) -> Experiment:
        """Raises BenchError for what cannot be measured."""
        plan = plan_of(options)
        attacks = [*(options.cases or ATTACKS)]
        store = CellStore(options.folder or FOLDER, plan, ArenaCell.from_json)
        first = options.first_seed
        seeds = range(first, first + (options.repeats or SEEDS))
        return cls(attacks, seeds, plan, store, options.jobs or len(os.sched_getaffinity(0)))

    def wanted(self) -> Iterator[tuple[str, str, int]]:
        """Attack, defence and seed; both sides of a claim next to each other, so that what is early done compares."""
        for seed in self.seeds:
            for attack in (CALM, *self.attacks):
                for defence in (UNDEFENDED, DEFAULT, *(SINGLE if seed in self.seeds[:SINGLE_SEEDS] else ())):
                    if any(map(defence.meets, [attack] if attack in ATTACKS else self.attacks)):
                        yield attack, defence.name, seed
        for seed in range(self.seeds.start, self.seeds.start + CALM_SEEDS * len(self.seeds)):
            for defence in (UNDEFENDED, DEFAULT):
                yield CALM_AT_USUAL_RATE, defence.name, seed


def run(options: BenchOptions, progress: Progress) -> Report:
    """Plays the cells that are not finished yet. Raises Interrupted with the finished ones on Ctrl-C."""
    experiment = Experiment.of(options)
    try:
        _play_missing(experiment, progress)
    except KeyboardInterrupt:
        raise Interrupted(_report(experiment, options)) from None
    return _report(experiment, options)


def _play_missing(experiment: Experiment, progress: Progress) -> None:
    missing = [
        (attack, defence, seed)
        for attack, defence, seed in experiment.wanted()
        if experiment.store.get(arm_of(attack, defence), seed) is None
    ]
    if missing:
        progress(f"{len(missing)} cells to play, {experiment.jobs} at a time")
    if experiment.jobs == 1:
        for cell in missing:
            experiment.store.put(_play(*cell, experiment.plan, progress))
        return
    with ProcessPoolExecutor(experiment.jobs, mp_context=get_context("spawn")) as processes:
        playing = {processes.submit(_play, *cell, experiment.plan): cell for cell in missing}
        try:
            for done, finished in enumerate(as_completed(playing), start=1):
                experiment.store.put(finished.result())
                attack, defence, seed = playing[finished]
                progress(f"cell {done} of {len(missing)}: {attack}, {defence}, seed {seed}")
        finally:
            processes.shutdown(wait=False, cancel_futures=True)


def _play(
    attack: str, defence: str, seed: int, plan: ArenaPlan, progress: Progress = lambda line: None
) -> ArenaCell:
    """One cell by its names, which another process can be told."""
    chosen = next(one for one in (UNDEFENDED, DEFAULT, *SINGLE) if one.name == defence)
    return play_cell(attack, chosen, seed, plan, progress)


def _report(experiment: Experiment, options: BenchOptions) -> Report:
    cells = []
    for attack, defence, seed in experiment.wanted():
        cells += experiment.store.cells([arm_of(attack, defence)], [seed])
    plan = experiment.plan
    facts = {
        **options.machine,
        "nodes": plan.nodes,
        "hostile": plan.hostile,
        "rounds": plan.rounds,
        "cells": len(cells),
    }
    arena = Arena(cells)
    return Report("arena", facts, experiment.seeds, rows(arena), checks(arena))
