"""`murmur bench NAME`: one command an experiment, each with the options that it follows and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from node.bench.kit.options import BenchError, BenchOptions
from node.bench.kit.report import Interrupted
from node.ui import interrupts
from node.ui.patience import patient
from node.ui.terminal.command_group import WholeSummaries
from node.ui.terminal.options import JsonOption

bench_app = typer.Typer(
    cls=WholeSummaries,
    no_args_is_help=True,
    help="Reproduce a figure, both sides in one run; progress goes to standard error.",
)

ModelOption = Annotated[
    str | None, typer.Option("--model", help="Hub id, folder or GGUF file in place of the benchmark's own.")
]
SeedsOption = Annotated[
    int | None, typer.Option("--seeds", metavar="K", min=1, help="Repeats, each from its own seed.")
]
FirstSeedOption = Annotated[
    int, typer.Option("--first-seed", metavar="N", min=0, help="Seed of the first repeat.")
]
CasesOption = Annotated[
    list[str], typer.Option("--case", metavar="NAME", help="Only this case; may be repeated.")
]
ArmsOption = Annotated[
    list[str],
    typer.Option(
        "--case", metavar="NAME", help="Only this arm, and what it is compared with; may be repeated."
    ),
]
RoundsOption = Annotated[
    int | None, typer.Option("--rounds", metavar="N", min=1, help="Iterations of each arm.")
]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Write the curves to this SVG file.")]


@bench_app.command()
def arena(
    attacks: Annotated[
        list[str],
        typer.Option("--attack", metavar="NAME", help="Only this attack, and nobody; may be repeated."),
    ] = [],
    malicious: Annotated[
        float | None, typer.Option("--malicious", help="Hostile share of the nodes; 0.25 by default.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", metavar="N", min=1, help="Nodes; 4 by default.")
    ] = None,
    seeds: SeedsOption = None,
    first_seed: FirstSeedOption = 0,
    rounds: RoundsOption = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Keep finished cells here, and go on from them.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", min=1, help="Cells at a time; by default one a core.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Attacks on nodes that really train. What hostile peers teach them, undefended and defended."""
    options = BenchOptions(
        cases=tuple(attacks),
        malicious=malicious,
        nodes=nodes,
        repeats=seeds,
        first_seed=first_seed,
        rounds=rounds,
        folder=folder,
        jobs=jobs,
    )
    from node.bench.arena.plan import plan_of

    plan_of(options)  # options first, as to load what trains takes long
    _run("arena", options, as_json=as_json)


@bench_app.command()
def april(model: ModelOption = None, seeds: SeedsOption = None, as_json: JsonOption = False) -> None:
    """APRIL's rounds against waiting for every rollout. Rollouts a second, and none lost."""
    _run("april", BenchOptions(model=model, repeats=seeds), as_json=as_json)


@bench_app.command()
def attacks(
    cases: CasesOption = [],
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="S", min=31, help="How long each attack lasts; 90 by default."),
    ] = None,
    seeds: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Real nodes under attack. What is left of honest delivery."""
    _run("attacks", BenchOptions(cases=tuple(cases), repeats=seeds, seconds=seconds), as_json=as_json)


@bench_app.command()
def branch(
    cases: CasesOption = [],
    seeds: SeedsOption = None,
    rounds: RoundsOption = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """BranchGRPO on digits against sequential groups. Reward over CPU time."""
    options = BenchOptions(cases=tuple(cases), repeats=seeds, rounds=rounds, plot=plot)
    _run("branch", options, as_json=as_json)


@bench_app.command()
def brorl(model: ModelOption = None, seeds: SeedsOption = None, as_json: JsonOption = False) -> None:
    """BroRL's many rollouts of one problem, gain and cost."""
    _run("brorl", BenchOptions(model=model, repeats=seeds), as_json=as_json)


@bench_app.command()
def compare(
    baseline: Annotated[
        str, typer.Argument(help="A baseline file, or the name of a shipped one: engine, gossip or step.")
    ],
    update: Annotated[
        bool, typer.Option("--update", help="Write the new figures into the file instead of comparing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """A kept baseline against a new run of its plan. Exit code 1 if a figure moved beyond its tolerance."""
    from node.bench.regression.baseline import find_baseline, read_baseline, write_baseline
    from node.bench.regression.compare import compare_with, run_plan
    from node.bench.regression.show import show_comparison

    path = find_baseline(baseline)
    plan = read_baseline(path)
    if not update and plan.measured is None:
        raise BenchError(f"{path} holds no figures yet: add --update to measure them")
    reports = run_plan(plan, _progress)
    stopped = len(reports) < plan.runs
    if update and not stopped:  # a part of the runs is no baseline
        write_baseline(path, plan.measured_from(reports))
        typer.echo(f"{path} holds the figures of {len(reports)} runs on this machine", err=True)
        return
    report = compare_with(plan, reports)
    show_comparison(report, as_json=as_json)
    if stopped or report.moved:
        raise typer.Exit(128 + interrupts.stopped_by() if stopped else 1)


@bench_app.command()
def curriculum(
    cases: CasesOption = [],
    model: ModelOption = None,
    seeds: SeedsOption = None,
    rounds: RoundsOption = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Keep finished cells here, and go on from them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """SmolLM2 on tasks that are too hard for it. Alone, with easier ones, adaptively."""
    options = BenchOptions(cases=tuple(cases), model=model, repeats=seeds, rounds=rounds, folder=folder)
    _run("curriculum", options, as_json=as_json)


@bench_app.command()
def dars(seeds: SeedsOption = None, as_json: JsonOption = False) -> None:
    """DARS on a tabular bandit: do hard problems stay solvable?"""
    _run("dars", BenchOptions(repeats=seeds), as_json=as_json)


@bench_app.command()
def engine(
    model: ModelOption = None,
    cases: CasesOption = [],
    dtypes: Annotated[
        list[str], typer.Option("--dtype", metavar="NAME", help="Only this type; may be repeated.")
    ] = [],
    seeds: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The generation engine against TRL and transformers. Seconds a rollout, and peak memory."""
    options = BenchOptions(model=model, cases=tuple(cases), dtypes=tuple(dtypes), repeats=seeds)
    _run("engine", options, as_json=as_json)


@bench_app.command()
def families(
    names: Annotated[
        list[str], typer.Option("--family", metavar="NAME", help="Only this family; may be repeated.")
    ] = [],
    seeds: SeedsOption = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write the table to this Markdown file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tiny models of today's families. Their paths, exactness, and speed beside generate."""
    _run("families", BenchOptions(cases=tuple(names), repeats=seeds, page=page), as_json=as_json)


@bench_app.command()
def faults(cases: CasesOption = [], as_json: JsonOption = False) -> None:
    """Real nodes while their network breaks. What is still delivered, and how soon all of it is again."""
    _run("faults", BenchOptions(cases=tuple(cases)), as_json=as_json)


@bench_app.command()
def gossip(cases: CasesOption = [], seeds: SeedsOption = None, as_json: JsonOption = False) -> None:
    """A swarm's round against the reference pattern. Bytes and seconds, with real daemons."""
    _run("gossip", BenchOptions(cases=tuple(cases), repeats=seeds), as_json=as_json)


@bench_app.command()
def gpu(
    cases: Annotated[
        list[str], typer.Option("--case", metavar="NAME", help="Only this part; may be repeated.")
    ] = [],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Keep finished parts here, and go on from them. Default: build/gpu-proof."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="cpu tries the way through with tiny shapes.")
    ] = "cuda",
    as_json: JsonOption = False,
) -> None:
    """What only a GPU shows. Its tests, and engine, step and round at three sizes, in parts that resume."""
    _run("gpu", BenchOptions(cases=tuple(cases), folder=folder, device=device), as_json=as_json)


@bench_app.command()
def memory(cases: CasesOption = [], as_json: JsonOption = False) -> None:
    """The memory plan of small models, against what they take."""
    _run("memory", BenchOptions(cases=tuple(cases)), as_json=as_json)


@bench_app.command()
def page(rounds: RoundsOption = None, as_json: JsonOption = False) -> None:
    """The dashboard on a run of 100,000 rollouts. Seconds of its first look, CPU of a round's writing."""
    _run("page", BenchOptions(rounds=rounds), as_json=as_json)


@bench_app.command(name="round")
def whole_round(
    model: ModelOption = None,
    rounds: RoundsOption = None,
    seeds: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whole rounds of SmolLM2, prompts shared and not. CPU seconds and memory."""
    _run("round", BenchOptions(model=model, rounds=rounds, repeats=seeds), as_json=as_json)


@bench_app.command()
def sapo(
    cases: ArmsOption = [],
    seeds: SeedsOption = None,
    nodes: Annotated[int | None, typer.Option("--nodes", help="Nodes of a population.")] = None,
    splits: Annotated[
        str | None, typer.Option("--splits", help="Own/external groups of an update: 8/0,6/2,4/4,2/6.")
    ] = None,
    rounds: RoundsOption = None,
    policy: Annotated[str | None, typer.Option("--policy", help="embedded or smollm2.")] = None,
    population: Annotated[
        str | None, typer.Option("--population", help="Nodes at their start: specialists, alike or unlike.")
    ] = None,
    first_seed: FirstSeedOption = 0,
    rates: Annotated[
        str | None,
        typer.Option("--rates", help="Learning rates to choose from, on a seed apart: 1.5e-4,3e-4,6e-4."),
    ] = None,
    plot: PlotOption = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Keep finished cells here, and go on from them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """SAPO's experiment: shared rollouts against silos. The real loop, at equal rounds and equal CPU time."""
    options = BenchOptions(
        cases=tuple(cases),
        repeats=seeds,
        nodes=nodes,
        splits=tuple(splits.split(",")) if splits else (),
        rounds=rounds,
        policy=policy,
        population=population,
        first_seed=first_seed,
        rates=tuple(rates.split(",")) if rates else (),
        plot=plot,
        folder=folder,
    )
    _run("sapo", options, as_json=as_json)


@bench_app.command()
def start(
    model: ModelOption = None,
    cases: CasesOption = [],
    repeats: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Starts of runs and of views, beside the libraries' import. CPU seconds."""
    _run("start", BenchOptions(model=model, cases=tuple(cases), repeats=repeats), as_json=as_json)


@bench_app.command()
def step(
    model: ModelOption = None,
    cases: CasesOption = [],
    seeds: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """One update against TRL's own training step. Seconds and peak memory."""
    _run("step", BenchOptions(model=model, cases=tuple(cases), repeats=seeds), as_json=as_json)


@bench_app.command()
def store(rounds: RoundsOption = None, as_json: JsonOption = False) -> None:
    """Keeping 100,000 rollouts. CPU of a round's writing, seconds of looking."""
    _run("store", BenchOptions(rounds=rounds), as_json=as_json)


@bench_app.command()
def strategies(cases: CasesOption = [], seeds: SeedsOption = None, as_json: JsonOption = False) -> None:
    """Every rollout strategy, at equal steps and equal tokens."""
    _run("strategies", BenchOptions(cases=tuple(cases), repeats=seeds), as_json=as_json)


@bench_app.command()
def verifier(cases: CasesOption = [], seeds: SeedsOption = None, as_json: JsonOption = False) -> None:
    """Checks of peers' bodies. Groups a second, and the dearest bodies."""
    _run("verifier", BenchOptions(cases=tuple(cases), repeats=seeds), as_json=as_json)


def _run(name: str, options: BenchOptions, *, as_json: bool) -> None:
    """Runs one benchmark and prints its report; what was measured before a signal is printed as well."""
    from node.bench.kit.registry import run_benchmark
    from node.bench.kit.show import show_report

    try:
        with patient(f"at {name}: the first line follows when torch is loaded") as patience:

            def tell(line: str) -> None:
                patience.reword(f"at {name}")
                patience.spoke()
                _progress(line)

            report = run_benchmark(name, options, tell)
    except Interrupted as early:
        show_report(replace(early.report, complete=False), as_json=as_json)
        raise typer.Exit(128 + interrupts.stopped_by()) from None
    show_report(report, as_json=as_json)


def _progress(line: str) -> None:
    typer.echo(line, err=True)
