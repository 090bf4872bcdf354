"""The options of the verbs that look into runs; each calls one function."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

RunArgument = Annotated[
    Path | None,
    typer.Argument(help="Folder of the run. Default: the newest under runs/.", show_default=False),
]
NumberArgument = Annotated[
    int, typer.Argument(metavar="ID", help="Id of a rollout, as murmur rollouts lists it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output.")]


class RunOrVerb(TyperGroup):
    """Takes a run's folder where no verb of its own stands first: `rollouts runs/join-1`, `rollouts show 7`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            return list(super().parse_args(ctx, ["", *args]))  # no run before the verb
        ctx.allow_interspersed_args = True
        return list(super().parse_args(ctx, args))


rollouts_app = typer.Typer(
    cls=RunOrVerb,
    invoke_without_command=True,
    help="What was written for which problem in a run: own rollouts and those of peers, newest first.",
)


@rollouts_app.callback()
def rollouts(  # noqa: PLR0913  each filter is an option
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="Folder of the run. Default: the newest under runs/.")] = "",
    round_number: Annotated[int | None, typer.Option("--round", help="Only this round.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task: sort, or its full name.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Only of this problem: its seed, as `rollouts show` tells it; with --task."),
    ] = None,
    peer: Annotated[str | None, typer.Option(help="Only of this peer: its PeerID, or the end of it.")] = None,
    own: Annotated[bool, typer.Option("--own", help="Only those of this run's policy.")] = False,
    external: Annotated[bool, typer.Option("--external", help="Only those of peers.")] = False,
    refused: Annotated[
        bool, typer.Option("--refused", help="Groups of peers that were refused, and why.")
    ] = False,
    best: Annotated[bool, typer.Option("--best", help="Highest rewards first.")] = False,
    worst: Annotated[bool, typer.Option("--worst", help="Lowest rewards first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """What was written for which problem in a run: own rollouts and those of peers, newest first."""
    if context.invoked_subcommand is not None:
        return
    from node.storage.rollout_rows import RolloutQuery
    from node.storage.run_folder import find_run
    from node.ui.inspect.errors import InspectError
    from node.ui.inspect.rollout_list import show_refused, show_rollouts

    for one, other, names in ((own, external, "--own or --external"), (best, worst, "--best or --worst")):
        if one and other:
            raise InspectError(f"choose {names}, not both")
    if refused and (own or best or worst):
        raise InspectError("--refused lists groups that peers sent, and none of them was scored: leave out "
                           "--own, --best and --worst")  # fmt: skip
    query = RolloutQuery(
        round=round_number,
        task=task,
        seed=seed,
        peer=peer.lstrip("…") if peer else None,
        external=True if external else False if own else None,
        order="best" if best else "worst" if worst else "newest",
        limit=limit,
    )
    show = show_refused if refused else show_rollouts
    show(find_run(Path(run) if run else None), query, as_json=as_json)


@rollouts_app.command("show")
def rollouts_show(
    number: NumberArgument,
    run: RunArgument = None,
    image: Annotated[Path | None, typer.Option(help="Write its image to this file, as PNG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """One rollout whole: the problem, the right answer, the text, and the others of its group."""
    from node.storage.run_folder import find_run
    from node.ui.inspect.rollout_page import show_rollout

    show_rollout(find_run(run), number, image, as_json=as_json)


def runs(
    root: Annotated[Path, typer.Argument(help="Folder in which to look.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """The runs of this machine: state, config, rounds and held-out reward, the newest first."""
    from node.ui.inspect.runs import show_runs

    show_runs(root, as_json=as_json)


def stats(run: RunArgument = None, as_json: JsonOption = False) -> None:
    """What a round spends its time on, rewards by task, and what peers brought."""
    from node.storage.run_folder import find_run
    from node.ui.inspect.stats import show_stats

    show_stats(find_run(run), as_json=as_json)


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    number: NumberArgument,
    as_json: JsonOption = False,
) -> None:
    """Score a kept rollout again with its task's verifier. Exit code 1 if the reward is another one."""
    from node.storage.run_folder import find_run
    from node.ui.inspect.replay import show_replay

    if not show_replay(find_run(run), number, as_json=as_json):
        raise typer.Exit(1)


def add_inspection(app: typer.Typer) -> None:
    """Adds the verbs to the command."""
    app.add_typer(rollouts_app, name="rollouts")
    for verb in (runs, stats, replay):
        app.command()(verb)
