"""The `murmur` command. Verbs stay thin: they read options, call one function, and map errors to exit codes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import policies  # noqa: F401  settles the Hugging Face libraries' environment before any of them is imported
from node.bench.commands import arena, bench_app
from node.evaluation.verbs import evaluate, export
from node.failures import EdgeGroup, prepare_streams
from node.ui import interrupts
from node.ui.inspect.commands import add_inspection
from node.ui.tasks.commands import tasks_app
from node.ui.tasks.prompt import prompt_app
from node.ui.terminal.command_group import WholeSummaries
from node.ui.terminal.options import JsonOption

app = typer.Typer(
    cls=EdgeGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A peer-to-peer node for RL post-training: train your own policy, share rollouts, keep your weights.",
    epilog="docs/quickstart.md shows the way in, docs/glossary.md explains the words of every table.",
)
config_app = typer.Typer(
    cls=WholeSummaries, no_args_is_help=True, help="The resolved config, or the schema of all keys."
)
app.add_typer(config_app, name="config")
app.add_typer(tasks_app, name="tasks")
app.add_typer(prompt_app, name="prompt")
app.add_typer(bench_app, name="bench")
app.command()(export)
app.command()(arena)
app.command("eval")(evaluate)
add_inspection(app)

DEFAULT = "tiny"
PLACE = "An invite: look at this swarm, read-only. A run's folder: the peers that it met. Default: the newest run."
# Commands that import torch, amid which no exception is safe: a signal ends them at once, until they say otherwise.
ENDED_AT_ONCE = frozenset({"demo", "run", "silo", "join", "export", "eval"})
ConfigArgument = Annotated[
    str | None, typer.Argument(help=f"TOML file, or the name of a preset in configs/. Default: {DEFAULT}.")
]
SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one key.")]
RoundsOption = Annotated[int | None, typer.Option(help="Rounds to run in all; the same as --set rounds=N.")]
RunDirOption = Annotated[
    Path | None, typer.Option(help="Run folder. Default: a new runs/COMMAND-N, of run a new runs/CONFIG-N.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on where the run folder's last checkpoint is.")
]
ResumeOrStartOption = Annotated[
    bool,
    typer.Option(
        "--resume-or-start",
        help="Go on if --run-dir holds a run, else start it: for a supervisor's command line.",
    ),
]


def _tell_version(asked: bool) -> None:
    if asked:
        from swarm.version import find_version

        typer.echo(f"murmur {find_version()}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    asked: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of the command itself; typer reads them off this signature."""
    if context.invoked_subcommand not in ENDED_AT_ONCE:
        interrupts.raise_stopped()


@app.command()
def demo(
    policy: Annotated[
        Literal["embedded", "digits"],
        typer.Option(help="What its nodes train: a small language model, or one that draws digits."),
    ] = "embedded",
    nodes: Annotated[int, typer.Option(metavar="N", min=2, max=64, help="Nodes beside a baseline each.")] = 3,
    overrides: SetOption = [],
    rounds: RoundsOption = None,
    run_dir: RunDirOption = None,
    picture: Annotated[Path | None, typer.Option(help="Write the closing table to this SVG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The main job, small: a local swarm over a real DHT, each node beside a silo baseline. Nothing is downloaded."""
    from node.arguments import check_picture, demo_settings
    from node.demo.kinds import KINDS
    from node.demo.run import run_demo
    from node.demo.view import DemoView
    from node.storage.run_folder import new_run_folder
    from node.ui.run_view import output_style

    settings = demo_settings(overrides, rounds)
    check_picture(picture)
    path = run_dir or new_run_folder("demo").path
    interrupts.raise_stopped()
    view = DemoView(output_style(as_json=as_json), path, picture)
    with view.patience.watching("making the nodes' starting weights"):
        code = run_demo(KINDS[policy], nodes, settings, path, view)
    raise typer.Exit(code)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where murmur.toml is written.")] = Path(),
    model: Annotated[
        str | None, typer.Option(help="Folder, .gguf file or hub name. Default: a tiny one, made here.")
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", metavar="NAME", help="What to train on; may be repeated.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"] | None,
        typer.Option(help="Where the policy lives. Default: auto."),
    ] = None,
    swarm: Annotated[bool, typer.Option("--swarm", help="Share rollouts with whoever joins.")] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Share with holders of an invite alone; says how to found it.")
    ] = False,
) -> None:
    """Write a config to begin with, every key explained. At a terminal it asks for what no option says."""
    from node.starter import answered, ask, begin

    given = answered(model, tasks or (), device, swarm=swarm, private=private)
    begin(folder, ask(*given))


@app.command()
def run(
    config: ConfigArgument = None,
    overrides: SetOption = [],
    rounds: RoundsOption = None,
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    resume_or_start: ResumeOrStartOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the memory that it would take, part by part, and end.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run one node as its config says."""
    from node.arguments import holds_run, repeated, resumption, run_config
    from node.start import dry_run_of, start
    from node.start import resume as go_on

    if resume_or_start and holds_run(run_dir, resume=resume):
        today = partial(run_config, config or DEFAULT, overrides, None)
        return go_on(repeated(today, rounds, run_dir), as_json=as_json)
    if resume:
        return go_on(
            resumption(config and Path(config).stem, config, overrides, rounds, run_dir), as_json=as_json
        )
    chosen = run_config(config or DEFAULT, overrides, rounds)
    if dry_run:
        raise typer.Exit(dry_run_of(chosen, as_json=as_json))
    start(chosen, Path(config or DEFAULT).stem, run_dir, as_json=as_json)


@app.command()
def silo(
    config: ConfigArgument = None,
    overrides: SetOption = [],
    rounds: RoundsOption = None,
    run_dir: RunDirOption = None,
    resume: ResumeOption = False,
    resume_or_start: ResumeOrStartOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run isolated: no socket is opened, whatever the config or the run says of a swarm."""
    from node.arguments import holds_run, repeated, resumption, silo_config
    from node.start import resume as go_on
    from node.start import start

    if resume_or_start and holds_run(run_dir, resume=resume):
        today = partial(silo_config, config or DEFAULT, overrides, None)
        return go_on(repeated(today, rounds, run_dir, command="silo"), as_json=as_json)
    if resume:
        asked = resumption("silo", config, overrides, rounds, run_dir, command="silo")
        return go_on(asked, as_json=as_json)
    start(silo_config(config or DEFAULT, overrides, rounds), "silo", run_dir, as_json=as_json)


@app.command()
def join(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(
            help="An invite, its name (https://... or dns:...), or multiaddrs ending in /p2p/<PeerID>."
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help=f"TOML file or preset: what to train. Default: {DEFAULT}.")
    ] = None,
    overrides: SetOption = [],
    rounds: RoundsOption = None,
    run_dir: RunDirOption = None,
    accept_data: Annotated[
        bool, typer.Option("--accept-data", help="Take rows that the invite names, without a question.")
    ] = False,
    resume: ResumeOption = False,
    resume_or_start: ResumeOrStartOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run as a node of the swarm that an invite names."""
    from node.arguments import holds_run, join_config, joined_config, repeated, resumption, with_invite
    from node.rows.taking import take_rows
    from node.start import resume as go_on
    from node.start import start

    again = resume_or_start and holds_run(run_dir, resume=resume)
    ways = with_invite(addresses or (), resumed=resume or again)
    if again:
        today = partial(joined_config, ways, config, overrides)
        return go_on(repeated(today, rounds, run_dir, ways), as_json=as_json)
    if resume:
        asked = resumption("join", config, overrides, rounds, run_dir, ways, command="join")
        return go_on(asked, as_json=as_json)
    chosen, secret = join_config(ways, config, overrides, rounds)
    chosen = take_rows(chosen, secret, accept=accept_data)
    start(chosen, "join", run_dir, secret, as_json=as_json)


@app.command()
def bootstrap(
    config: Annotated[
        str | None, typer.Option(help=f"Preset or TOML file whose tasks it shares. Default: {DEFAULT}.")
    ] = None,
    overrides: SetOption = [],
    run_dir: Annotated[Path, typer.Option(help="Holds the key file and the invite.")] = Path(
        "runs/bootstrap"
    ),
    private: Annotated[
        bool, typer.Option("--private", help="Only who gets the invite can take part or read.")
    ] = False,
    beside: Annotated[
        str | None, typer.Option(help="Invite of a swarm that exists: be one more way into it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a peer that others join through; prints the invite and serves until Ctrl-C."""
    from node.arguments import bootstrap_asked
    from node.runtime.serve_bootstrap import serve_bootstrap

    asked = bootstrap_asked(config, overrides, run_dir, beside, private=private)
    serve_bootstrap(asked, as_json=as_json)


@app.command()
def peers(
    place: Annotated[str | None, typer.Argument(metavar="INVITE|RUN", help=PLACE, show_default=False)] = None,
    run_dir: Annotated[Path | None, typer.Option(help="A run's folder, as RUN.")] = None,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of the newest N rounds alone.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    allow: Annotated[str | None, typer.Option(help="A peer that counts as known from now on.")] = None,
    deny: Annotated[str | None, typer.Option(help="A peer that nothing is taken from any more.")] = None,
    by_record: Annotated[str | None, typer.Option(help="A peer whose record decides again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Who is in the swarm, what they offer, and what came of it here. A running node follows a word on a peer."""
    from node.arguments import invite_text, swarm_or_run
    from node.ui.peer_words import say_of_peers
    from node.ui.peers import show_peers

    invite, run_dir = swarm_or_run(place, run_dir)
    if any(words := (allow, deny, by_record)):
        return say_of_peers(invite, run_dir, *words)
    show_peers(invite_text(invite) if invite else None, run_dir, last, watch=watch, as_json=as_json)


@app.command()
def dashboard(
    run_folder: Annotated[
        Path | None, typer.Argument(help="Folder of the run. Default: the newest under runs/.")
    ] = None,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: one that is free.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """A web page on a run, going on or ended, for this machine alone. Serves until Ctrl-C."""
    from node.storage.run_folder import find_run

    folder = find_run(run_folder)
    from node.web.server import serve_dashboard

    serve_dashboard(folder, port, as_json=as_json)


@app.command()
def identity(
    path: Annotated[Path, typer.Option(help="Key file; made if it is not there.")] = Path("identity.key"),
    as_json: JsonOption = False,
) -> None:
    """Show the PeerID and public key of a key file."""
    from swarm.wire.identity import Identity

    made = not path.exists()
    own = Identity.load_or_create(path)
    if made:
        typer.echo(f"{path} was not there: a new key is made", err=True)
    facts = {"peer": own.peer_id, "public_key": own.public_key.hex(), "file": str(path)}
    lines = [f"{name:<11} {value}" for name, value in facts.items()]
    typer.echo(json.dumps(facts) if as_json else "\n".join(lines))


@app.command()
def doctor(
    invite: Annotated[str | None, typer.Argument(help="Its peers are asked to dial this machine.")] = None,
    config: Annotated[
        str | None, typer.Option(help="Also plan the memory of this TOML file's or preset's policy.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine: Python, torch, device, memory, disk, network, the p2p daemon. Each finding has its fix."""
    from node.arguments import invite_text
    from node.config.reading import load_config
    from node.doctor import examine, show_findings
    from swarm.wire.invite import Invite

    planned = load_config(config) if config else None
    findings = examine(Invite.decode(invite_text(invite)) if invite else None, planned)
    raise typer.Exit(show_findings(findings, as_json=as_json))


@app.command()
def simulate(
    nodes: Annotated[int, typer.Option(help="Nodes of the swarm.")] = 1000,
    rounds: Annotated[int, typer.Option(help="Rounds of each node, after two that are not counted.")] = 8,
    bodies: Annotated[int, typer.Option(help="Bodies that a node fetches in a round, J.")] = 4,
    body_size: Annotated[int, typer.Option(help="Bytes of a body.")] = 100_000,
    latency: Annotated[float, typer.Option(help="Mean one-way delay, milliseconds.")] = 50.0,
    loss: Annotated[float, typer.Option(help="Share of messages that are lost.")] = 0.0,
    churn: Annotated[float, typer.Option(help="Share of the nodes replaced each minute.")] = 0.0,
    partition: Annotated[
        str | None, typer.Option(help="START:END in seconds: two halves meanwhile; a round is 60.")
    ] = None,
    servers: Annotated[float, typer.Option(help="Share of the nodes that hold the DHT.")] = 0.05,
    shard_depth: Annotated[int | None, typer.Option(help="Default: log2(nodes / 24).")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal outcomes.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """A swarm of thousands on a virtual clock: what a round costs a node, whom it hears, what faults do to it."""
    from node.ui.simulation import show_outcome
    from swarm.simulation import Interrupted, Partition, Scenario
    from swarm.simulation import simulate as play

    parted = Partition.parse(partition) if partition else None
    scenario = Scenario(
        nodes, rounds, bodies, body_size, latency, loss, churn, parted, servers, seed, shard_depth
    )
    try:
        outcome = play(scenario, lambda line: typer.echo(line, err=True))
    except Interrupted as early:
        show_outcome(early.result, as_json=as_json)
        raise typer.Exit(128 + interrupts.stopped_by()) from None
    show_outcome(outcome, as_json=as_json)


@config_app.command("show")
def config_show(config: ConfigArgument = None, overrides: SetOption = []) -> None:
    """The whole config with every default filled in, as JSON."""
    from node.config.overrides import with_rounds
    from node.config.reading import load_config, resolved_json

    typer.echo(resolved_json(load_config(config or DEFAULT, with_rounds(overrides, None))))


@config_app.command("schema")
def config_schema() -> None:
    """JSON schema of the config, with every key's documentation."""
    from node.config.schema import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def main() -> None:
    """Runs the command and ends the process with its exit code."""
    prepare_streams()
    app()


if __name__ == "__main__":
    main()
