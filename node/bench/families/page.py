"""The page docs/families.md, written whole from a report of `murmur bench families`."""

from __future__ import annotations

import time

from node.bench.kit.report import Report, Row

COMMAND = "murmur bench families --page docs/families.md"
HEAD = """# Model families

Any causal language model of transformers is tried before it is used: what samples must be what trains, to rounding,
or the model is refused. How fast it then is depends on its family. The table is of small random models: exactness
is the point, and the speed is that of the code round the model.

- **Sampling**: `engine` computes each prompt once for all its rollouts and replaces rollouts that end; `generate` is
  transformers' own, in waves; `one row` is the same on one rollout at a time, where padding changes what a model
  computes.
- **Training**: `shared prompt` computes each prompt once, forward and backward; `TRL` is TRL's own scoring;
  `whole logits` keeps the logits of every token, for heads that TRL does not know.
- **Off by**: the largest difference of a token's log-prob, in nats, between the sampler and a plain forward pass,
  before and after an update, and between the training step and the sampler.
- **Greedy**: whether the likeliest tokens are those that `generate` writes.
- **Over generate**: `generate`'s CPU time over ours for 16 rollouts of 32 tokens behind each of two prompts of 128,
  both in turns in one process; median, and the range of the repeats. Rollouts of one length are the best case for
  `generate`, which computes those that have ended on until the last of them has.
"""
COLUMNS = ("Family", "Sampling", "Training", "Off by", "Greedy", "Over generate")


def page_text(report: Report, day: str | None = None) -> str:
    """Markdown; `day` is an ISO date, today where it is None."""
    machine = report.machine
    day = day or time.strftime("%Y-%m-%d")
    facts = f"{machine.get('cpu')}, {machine.get('threads')} thread(s), torch {machine.get('torch')}"
    libraries = f"transformers {machine.get('transformers')}, trl {machine.get('trl')}"
    lines = [
        HEAD,
        f"`{COMMAND}` wrote this page on {day}, commit {machine.get('commit', 'unknown')}: {facts}, {libraries}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *(_line(row) for row in report.rows),
        "",
        "| Figure | Ours | Asked for |",
        "| --- | --- | --- |",
        *(f"| `{check.name}` | {check.ours:.2f} | at least {check.floor:g} |" for check in report.checks),
    ]
    reasons = [f"- {row['family']}: {row['why']}." for row in report.rows if row["why"]]
    if reasons:
        lines += ["", "## What falls back, and why", "", *reasons]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    if row["exact"] is None:
        return f"| {row['family']} | {row['sampling']} | {row['training']} | - | - | - |"
    off = max(float(str(row["sampled_off"])), float(str(row["trained_off"])))
    speed = "{:.2f} ({:.2f} to {:.2f})".format(
        *(float(str(row[name])) for name in ("over_generate", "over_generate_low", "over_generate_high"))
    )
    same = "same" if row["greedy_equal"] else "differs"
    cells = (row["family"], row["sampling"], row["training"], f"{off:.1e}", same, speed)
    return f"| {' | '.join(str(cell) for cell in cells)} |"
