"""`murmur export`: a checkpoint's policy as a Hugging Face folder with its card, written whole or not at all."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from node.config.schema import Config
from node.config.sections.policy import EmbeddedPolicyConfig, TextPolicyConfig
from node.export.card import card_of
from node.export.errors import ExportError
from node.export.gguf_file import add_gguf, require_gguf
from node.export.lineage import Lineage, hub_id, lineage_of, write_lineage
from node.export.push import push_folder, require_push
from node.export.source import Source, find_source
from node.export.target import refuse_taken
from node.export.usage import base_path, usage_of
from node.storage.checkpoint import round_of, sync_folder, sync_tree
from node.storage.events import History
from node.ui.terminal.window import say_lines
from policies.drafts import clear_drafts, draft_folder
from policies.plain_files import read_object
from policies.tasks import build_task
from policies.tasks.task import TaskError
from policies.text.export.folder import (
    CARD,
    copy_adapter,
    copy_model,
    is_adapter,
    reads_alike,
    stops_of,
    write_embedded,
    write_merged,
)

TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


@dataclass(frozen=True, slots=True)
class Form:
    """What an export is to be."""

    merge: bool = False  # an adapter added to its base
    gguf: bool = False  # a GGUF file beside the weights
    push: str | None = None  # repository of the hub to upload it to


def export_run(
    run: Path,
    folder: Path,
    form: Form = Form(),
    *,
    round_number: int | None = None,
    best: bool = False,
    begins: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """Writes `folder` and returns what it holds, as plain values; `begins` hears of each step.

    What stands against it is found before weights are loaded. Raises ExportError, RunFolderError, ConfigError,
    CheckpointError, PolicyError, StoreError, OSError.
    """
    begins("exporting")
    source = find_source(run, round_number, best=best)
    saved_adapter = is_adapter(source.weights)
    adapter = saved_adapter and not form.merge
    base = base_path(source.policy) if adapter and isinstance(source.policy, TextPolicyConfig) else None
    refuse_taken(folder)
    if form.gguf:
        require_gguf(source.weights, source.policy, whole=not adapter, adapter=saved_adapter)
    if form.push:
        require_push(form.push, base)
    with draft_of(folder) as draft:
        begins(
            "merging the adapter into its model" if saved_adapter and form.merge else "writing the weights"
        )
        _write_weights(source, draft, adapter=adapter)
        begins("reading the tokenizer back")
        example = _example(source.config)
        alike = reads_alike(draft, example)
        if form.gguf:
            begins("writing the GGUF file and comparing it with the model")
        off = add_gguf(draft, folder.name) if form.gguf else None
        lineage = _lineage(source)
        write_lineage(lineage, draft)
        card = _card(source, lineage, draft, folder, form, example)
        (draft / CARD).write_text(card, encoding="utf-8")
        _open_alike(draft)
    if form.push:
        begins("uploading")
    page = push_folder(folder, form.push, f"Round {lineage.round}") if form.push else None
    return {
        "folder": str(folder),
        "round": lineage.round,
        "kind": "adapter" if adapter else "model",
        "base": base,
        "prompt": dict(lineage.prompt),
        "tokenizer_read_alike": alike,
        "files": sorted(path.name for path in folder.iterdir()),
        "gguf_logprobs_off": off,
        "pushed": page,
    }


def _card(source: Source, lineage: Lineage, draft: Path, folder: Path, form: Form, example: str) -> str:
    adapter = is_adapter(draft)
    where, stops = form.push or folder.name, stops_of(draft, source.policy.prompt)
    usage = usage_of(source.policy, where, example, stops, adapter=adapter)
    base = hub_id(source.policy)
    return card_of(lineage, folder.name, usage, adapter=adapter, base_id=base, gguf=form.gguf)


def _open_alike(draft: Path) -> None:
    """All files as the card, which has the user's own mode: libraries keep weights from everybody else."""
    mode = (draft / CARD).stat().st_mode
    for file in filter(Path.is_file, draft.rglob("*")):
        file.chmod(mode)


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes `folder` at the end, whole; nothing is left of it where filling it fails."""
    place = folder.absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    if clear_drafts(place):
        raise ExportError(
            f"another murmur export is writing {folder}: wait until it ended, or name a new folder"
        )
    try:
        with draft_folder(place) as draft:
            yield draft
            sync_tree(draft)
            _land(draft, folder)
            sync_folder(place.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(folder)
        raise


def _land(draft: Path, folder: Path) -> None:
    """Raises ExportError where something is there by now."""
    try:
        draft.rename(folder)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        raise ExportError(
            f"{folder} was made by another program meanwhile and is left as it is: name a new folder"
        ) from None


def show_export(facts: dict[str, Any], *, as_json: bool) -> None:
    """Says what was written and what to do with it."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    folder = facts["folder"]
    if facts["kind"] == "model":
        say_lines(f"{folder} holds the model after round {facts['round']}, as transformers reads it")
        say_lines(f'  in Python: pipeline("text-generation", model="{folder}")')
    else:
        say_lines(f"{folder} holds the adapter after round {facts['round']}; its base is {facts['base']}")
        say_lines("  in Python: as its README.md shows; --merge writes a whole model in its place")
    if facts["gguf_logprobs_off"] is not None:
        say_lines(f"  for llama.cpp: {Path(folder) / Path(folder).name}.gguf, read back and compared")
    say_lines(f"  its card: {Path(folder) / CARD}")
    if facts["pushed"]:
        say_lines(f"  pushed to {facts['pushed']} (a repository that was made for it is private)")
    if not facts["tokenizer_read_alike"]:
        say_lines(
            "  of this family AutoTokenizer rebuilds the tokenizer by rules that are not this one's: load it with "
            f'PreTrainedTokenizerFast.from_pretrained("{folder}")'
        )


def _write_weights(source: Source, draft: Path, *, adapter: bool) -> None:
    if not (source.weights / "tokenizer.json").is_file() and source.weights.is_dir():
        raise ExportError(
            f"{source.checkpoint} was written by a murmur that kept no tokenizer: play one more round of the run, "
            "which saves it in the way of today"
        )
    policy = source.policy
    if isinstance(policy, EmbeddedPolicyConfig):
        write_embedded(source.weights, draft)
    elif not is_adapter(source.weights):
        copy_model(source.weights, draft)
    elif adapter:
        copy_adapter(source.weights, base_path(policy), draft)
    else:
        write_merged(source.weights, policy.model, draft, source.config.run_seed)


def _lineage(source: Source) -> Lineage:
    history, at = History(source.run.events), round_of(source.checkpoint)
    return lineage_of(source.config, source.policy, history, at, _judged(source))


def _example(config: Config) -> str:
    """The prompt of a problem that the model was trained for; a plain question where the task is not installed here."""
    try:
        problem = build_task(config.tasks[0].spec).problem(0)
        return (
            problem.words or problem.prompt if isinstance(config.policy, TextPolicyConfig) else problem.prompt
        )
    except TaskError:
        return "What is 1 + 1?"


def _judged(source: Source) -> dict[str, Any]:
    """What `murmur eval` found of this checkpoint, where it was asked."""
    return read_object(source.run.evaluation(round_of(source.checkpoint)))
