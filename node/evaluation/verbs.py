"""`murmur export` and `murmur eval`: their options; what they do is imported when one of them is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.ui import interrupts
from node.ui.patience import patient
from node.ui.terminal.options import JsonOption


def export(  # noqa: PLR0913
    run: Annotated[Path, typer.Argument(help="Folder of a run, as it was printed at its start.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Add a LoRA adapter to its base: a whole model, not an adapter.")
    ] = False,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Also write one file for llama.cpp, where the family allows it.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(help="Upload the folder to this repository of the hub, OWNER/NAME.")
    ] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", help="Of the checkpoints that are kept. Default: the newest.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The checkpoint with the best evaluation (checkpoint.keep_best).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a run's model as an ordinary Hugging Face folder: weights, tokenizer, generation config, model card."""
    from node.export.source import find_source
    from node.export.target import refuse_taken

    find_source(run, round_number, best=best)
    refuse_taken(folder)
    with patient("loading torch") as patience:
        from node.export.command import Form, export_run, show_export

        interrupts.raise_stopped()
        form = Form(merge, gguf, push)
        facts = export_run(run, folder, form, round_number=round_number, best=best, begins=patience.begin)
    show_export(facts, as_json=as_json)


def evaluate(  # noqa: PLR0913
    model: Annotated[str, typer.Argument(help="Folder of a run, model folder, hub id or .gguf file.")],
    tasks: Annotated[
        str, typer.Option(help="Names, parted by commas. Default: those that the model was trained on.")
    ] = "",
    rollouts: Annotated[int, typer.Option(metavar="N", min=1, help="Answers to each problem.")] = 8,
    k: Annotated[str, typer.Option(help="The k of pass@k, parted by commas.")] = "1,4,8",
    problems: Annotated[int, typer.Option(metavar="N", min=1, help="Reserved problems of each task.")] = 50,
    against: Annotated[
        str | None, typer.Option(help="Model or run to compare with. Default: a run's own start.")
    ] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", help="Of a run's checkpoints. Default: the newest.")
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Longest answer of a model in tokens. Default: as in its run, or 64."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal answers.")] = 0,
    show: Annotated[int, typer.Option(metavar="N", min=0, help="Problems whose answers are shown.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Judge a model on problems that no run trains on: pass@k with intervals, paired with what it started from."""
    from node.evaluation.contender import refuse_unusable
    from node.evaluation.options import options_of

    asked = options_of(
        model=model,
        tasks=tasks,
        rollouts=rollouts,
        ks=k,
        problems=problems,
        base=against,
        round=round_number,
        cap=max_new_tokens,
        seed=seed,
        show=show,
    )
    refuse_unusable(asked)
    with patient("loading torch") as patience:
        from node.evaluation.command import evaluate as judge

        interrupts.raise_stopped()
        code = judge(asked, patience, as_json=as_json)
    raise typer.Exit(code)
