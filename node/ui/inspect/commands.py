"""The options of the verbs that look into runs; each calls one function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from node.ui.patience import patient
from node.ui.terminal.command_group import WholeSummaries
from node.ui.terminal.options import JsonOption

RunArgument = Annotated[
    Path | None,
    typer.Argument(help="Folder of the run. Default: the newest under runs/.", show_default=False),
]
LARGEST = 2**63 - 1  # of a store's numbers


def _storable(number: int | None) -> int | None:
    if number is not None and not 0 <= number <= LARGEST:
        raise typer.BadParameter(f"{number} is more than a store holds, or less")
    return number


NumberArgument = Annotated[
    int,
    typer.Argument(metavar="ID", callback=_storable, help="Id of a rollout, as murmur rollouts lists it."),
]
LastOption = Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the newest rounds, so many.")]
LimitOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=100_000, help="How many; 20 by default, of one round 200."),
]
ShowOption = Annotated[
    bool, typer.Option("--show", help="By groups, each with its problem and the right answer; texts whole.")
]
VerdictOption = Annotated[
    str | None,
    typer.Option(
        help="Only those with this verdict: trained, untrained, or the reason why one was not trained on, as the list "
        "says it; with --refused, the reason of a refusal."
    ),
]
FollowOption = Annotated[
    bool,
    typer.Option("--follow", help="Go on with those of each new round, oldest first, until the run ends."),
]


def patiently(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, with a line on standard error where it takes long; one that follows a run speaks for itself."""

    @wraps(verb)
    def told(*words: Any, **options: Any) -> None:
        with nullcontext() if options.get("follow") else patient("reading the run"):
            verb(*words, **options)

    return told


class RunOrVerb(WholeSummaries):
    """Takes a run's folder where no verb of its own stands first: `rollouts runs/join-1`, `rollouts show 7`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        word = args[0] if args else ""
        if word in self.commands:
            return list(super().parse_args(ctx, ["", *args]))  # no run before the verb
        meant = [] if word.startswith("-") or Path(word).exists() else get_close_matches(word, self.commands)
        if meant:
            from node.storage.run_folder import no_run

            ctx.fail(f"{no_run(word)}; did you mean the command {meant[0]}?")
        ctx.allow_interspersed_args = True
        return list(super().parse_args(ctx, args))


rollouts_app = typer.Typer(
    cls=RunOrVerb,
    invoke_without_command=True,
    help="What was written for which problem in a run: own rollouts and those of peers, newest first.",
)


@rollouts_app.callback()
@patiently
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
    verdict: VerdictOption = None,
    right: Annotated[bool, typer.Option("--right", help="Only those with the whole reward.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only those with less.")] = False,
    best: Annotated[bool, typer.Option("--best", help="Highest rewards first.")] = False,
    worst: Annotated[bool, typer.Option("--worst", help="Lowest rewards first.")] = False,
    limit: LimitOption = None,
    show: ShowOption = False,
    follow: FollowOption = False,
    as_json: JsonOption = False,
) -> None:
    """What was written for which problem in a run: own rollouts and those of peers, newest first."""
    if context.invoked_subcommand is not None:
        return
    from node.storage.rollout_rows import RolloutQuery, verdict_named
    from node.storage.run_folder import find_run
    from node.ui.inspect.empty_answer import refuse_unknown_names
    from node.ui.inspect.rollout_list import follow_rollouts, show_refused, show_rollouts
    from node.ui.inspect.rollout_page import show_groups

    _refuse_contradictions(
        own=own,
        external=external,
        best=best,
        worst=worst,
        right=right,
        wrong=wrong,
        refused=refused,
        follow=follow,
        show=show,
    )
    query = RolloutQuery(
        round=round_number,
        task=task,
        seed=seed,
        peer=peer.lstrip("…") if peer else None,
        external=True if external else False if own else None,
        right=True if right else False if wrong else None,
        verdict=verdict_named(verdict) if verdict else None,
        order="best" if best else "worst" if worst else "newest",
        limit=limit or (20 if round_number is None else 200),
    )
    tell = show_refused if refused else follow_rollouts if follow else show_groups if show else show_rollouts
    folder = find_run(Path(run) if run else None)
    refuse_unknown_names(folder, query, refused=refused, coming=follow)
    tell(folder, query, as_json=as_json)


def _refuse_contradictions(**chosen: bool) -> None:
    """Raises InspectError for options that leave nothing to list."""
    from node.ui.inspect.errors import InspectError

    for one, other in (("own", "external"), ("best", "worst"), ("right", "wrong")):
        if chosen[one] and chosen[other]:
            raise InspectError(f"choose --{one} or --{other}, not both")
    if chosen["refused"] and any(chosen[name] for name in ("own", "best", "worst", "right", "wrong")):
        raise InspectError("--refused lists groups that peers sent, and none of them was scored: leave out "
                           "--own, --best, --worst, --right and --wrong")  # fmt: skip
    if chosen["show"] and (chosen["refused"] or chosen["follow"]):
        raise InspectError(
            "--show tells rollouts that are kept, by their groups: leave out --refused and --follow"
        )
    if chosen["follow"] and any(chosen[name] for name in ("refused", "best", "worst")):
        raise InspectError("--follow lists rollouts as they come: leave out --refused, --best and --worst")


@rollouts_app.command("show")
@patiently
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


def stats(run: RunArgument = None, last: LastOption = None, as_json: JsonOption = False) -> None:
    """What a round spends its time on, rewards by task, and what peers brought."""
    from node.storage.run_folder import find_run
    from node.ui.inspect.stats import show_stats

    show_stats(find_run(run), last, as_json=as_json)


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="[ID]", callback=_storable, help="Id of a rollout, as murmur rollouts lists it."
        ),
    ] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", callback=_storable, help="A whole round in its place.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """A kept rollout, or a whole round, scored again by its task's verifier. Exit code 1 if a reward is another one.

    Of a round also its problems, what was drawn of peers, the advantages and the figures of its update.
    """
    from node.storage.run_folder import find_run
    from node.ui.inspect.errors import InspectError
    from node.ui.inspect.replay import show_replay
    from node.ui.inspect.round_replay import show_round

    if round_number is not None and number is None:
        agrees = show_round(find_run(run), round_number, as_json=as_json)
    elif number is not None and round_number is None:
        agrees = show_replay(find_run(run), number, as_json=as_json)
    else:
        raise InspectError("replay takes the id of a rollout, or --round with the number of a round")
    if not agrees:
        raise typer.Exit(1)


def add_inspection(app: typer.Typer) -> None:
    """Adds the verbs to the command."""
    app.add_typer(rollouts_app, name="rollouts")
    for verb in (runs, stats, replay):
        app.command()(patiently(verb))
