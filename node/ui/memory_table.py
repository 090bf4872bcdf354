"""The memory plan of a run as a table: `murmur run --dry-run`."""

from __future__ import annotations

import json

import typer

from node.config.schema import Config
from node.runtime.build import device_of
from node.runtime.memory import GB, PARTS, as_plain, parts_of, plan_memory, remedy_of
from policies.text.memory.fit import Fit


def show_plan(config: Config, *, as_json: bool) -> int:
    """Prints what the run would take and returns the exit code: 3 where it does not fit. Raises PolicyError."""
    device = device_of(config)
    fit = plan_memory(config, device)
    if as_json:
        typer.echo(json.dumps({"device": str(device), "memory": as_plain(fit) if fit else None}))
    elif fit is None:
        typer.echo(
            f"the config is sound; memory is planned for pretrained text models, and this is {config.policy.type}"
        )
    else:
        typer.echo("\n".join(_lines(fit, str(device))))
    return 0 if fit is None or fit.fits else 3


def _lines(fit: Fit, device: str) -> list[str]:
    found = fit.estimate
    lines = [f"{size / GB:9.2f} GB  {PARTS[name]}" for name, size in parts_of(found).items()]
    lines += [
        f"{found.peak / GB:9.2f} GB  at most at once: what stays, and the larger of update and sampling",
        f"{fit.free / GB:9.2f} GB  free on {device}",
        f"{found.slots} rollouts in flight; micro-batches of {found.update_tokens} tokens",
    ]
    if found.guessed:
        lines.append("activations are a guess: this model's passes cannot be counted without its weights")
    return [*lines, "it fits" if fit.fits else f"it does not fit: {remedy_of(fit)}"]
