"""The model card of an exported model: `README.md` with the hub's metadata in front, written from its lineage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from node.export.lineage import Lineage
from node.export.markdown import markdown_table
from node.storage.influence import Influence
from policies.tasks.verifiers.answer_format import AnswerFormat

MOST_EVALUATIONS = 12  # rows; of a longer run, the first and the last ones
TAGS = ("murmuration", "reinforcement-learning", "grpo")
INFLUENCE = (
    "Useful: whether a peer's right answers would make the node's own right ones likelier, from -1 to 1, as last "
    "measured. "
    "Own reward: mean of the rounds whose updates had the peer's groups, and of the rounds after them; other peers' "
    "groups were in the same updates."
)


def card_of(
    lineage: Lineage, name: str, usage: str, *, adapter: bool, base_id: str | None, gguf: bool = False
) -> str:
    """`usage`: Python that loads the model; `base_id`: the base's id on the hub, where it came from there."""
    parts = [
        _metadata(name, adapter=adapter, base_id=base_id),
        f"# {name}",
        f"{'An adapter for' if adapter else 'Trained from'} **{lineage.base}**{', trained' if adapter else ''} by "
        "reinforcement learning in a node of "
        "murmuration. What its base may be used for holds for it too.",
        "## Use",
        f"```python\n{usage}\n```",
        *(
            [
                f"`{name}.gguf` holds the same weights for llama.cpp, whose `llama-quantize` makes smaller files of it."
            ]
            if gguf
            else ()
        ),
        *_speaking(lineage),
        "## How it came to be",
        _facts(lineage),
        "### Tasks",
        markdown_table(("task", "parameters", "weight"), (_task_row(task) for task in lineage.tasks)),
        "### Whose rollouts it learned from",
        _shares(lineage),
        *_evaluations(lineage),
        "### Versions",
        markdown_table(("program", "version"), lineage.versions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(name: str, *, adapter: bool, base_id: str | None) -> str:
    lines = [
        f"library_name: {'peft' if adapter else 'transformers'}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in (*TAGS, *(("lora",) if adapter else ()))),
    ]
    if base_id:
        lines += [f"base_model: {base_id}", f"base_model_relation: {'adapter' if adapter else 'finetune'}"]
    return "\n".join(["---", f"model_name: {json.dumps(name)}", *lines, "---"])


def _speaking(lineage: Lineage) -> Iterator[str]:
    """How the policy was prompted, which no generation config can hold."""
    prompt = lineage.prompt
    if "system" in prompt:
        yield f"It was trained with the system message {json.dumps(prompt['system'], ensure_ascii=False)}."
    if prompt.get("template_args"):
        given = ", ".join(
            f"`{name} = {json.dumps(value)}`" for name, value in prompt["template_args"].items()
        )
        yield f"Arguments of its chat template: {given}."
    if "answer_format" in prompt:
        yield f"Behind each question stood: {AnswerFormat(prompt['answer_format']).instruction}"
    if prompt.get("examples"):
        yield f"{len(prompt['examples'])} answered questions stood before each; `lineage.json` has them."


def _facts(lineage: Lineage) -> str:
    rows = [
        ("base", lineage.base),
        ("trained", lineage.trained),
        ("rounds", lineage.round),
        ("updates", lineage.policy_version),
        ("strategy", lineage.strategy),
        ("longest answer", f"{lineage.max_new_tokens} tokens"),
        ("swarm", f"`{lineage.swarm}`" if lineage.swarm else "none: trained alone"),
        ("exported", lineage.date),
    ]
    return markdown_table(("", ""), rows)


def _task_row(task: Any) -> tuple[object, ...]:
    given = ", ".join(f"{name} = {json.dumps(value)}" for name, value in task.params.items())
    return f"`{task.name}`", given or "-", f"{task.weight:g}"


def _shares(lineage: Lineage) -> str:
    total = lineage.own_groups + sum(lineage.peer_groups.values())
    if not total:
        return "The run's event store has no update in it."
    brought = {part.peer: part for part in lineage.influence}
    rows = [("this node", lineage.own_groups, f"{lineage.own_groups / total:.1%}", "", "")]
    rows += [
        (f"`{peer}`", groups, f"{groups / total:.1%}", *_brought(brought.get(peer)))
        for peer, groups in lineage.peer_groups.items()
    ]
    heads = ("node", "groups trained on", "share", "useful", "own reward before and after")
    return f"{markdown_table(heads, rows)}\n\n{INFLUENCE}"


def _brought(part: Influence | None) -> tuple[str, str]:
    """Usefulness and rewards of a peer's row; `-` for what was not measured."""
    if part is None:
        return "-", "-"
    useful = "-" if part.usefulness is None else f"{part.usefulness:+z.2f}"
    known = part.reward_before is not None and part.reward_after is not None
    return useful, f"{part.reward_before:.3f}, {part.reward_after:.3f}" if known else "-"


def _evaluations(lineage: Lineage) -> Iterator[str]:
    if lineage.evaluations:
        yield "### Evaluations during the run"
        yield f"Mean reward of one answer each to {lineage.evaluated_on} held-out problems of each task."
        tasks = sorted({task for event in lineage.evaluations for task in event.rewards_by_task})
        events = lineage.evaluations
        shown = events if len(events) <= MOST_EVALUATIONS else (events[0], *events[1 - MOST_EVALUATIONS :])
        rows = (
            (
                event.round,
                f"{event.reward:.3f}",
                *(f"{event.rewards_by_task.get(task, 0.0):.3f}" for task in tasks),
            )
            for event in shown
        )
        yield markdown_table(("round", "all", *(f"`{task}`" for task in tasks)), rows)
    if lineage.judged:
        yield "### Judged by `murmur eval`"
        yield str(lineage.judged.get("markdown", ""))
