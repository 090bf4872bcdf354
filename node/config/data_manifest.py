"""A data task in a manifest: digests, templates and verifier, and where its rows are to be had. Never a path.

It comes back with an invite, from whoever made that: what it says is checked here before anything is done with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from policies.plain_files import parse_json
from policies.tasks.data.hub import PREFIX
from policies.tasks.data.row import MAX_ROWS, refuse_control
from policies.tasks.data_task import DIGESTS, LEAST_ROWS, SIZE, SOURCE, DataTask
from policies.tasks.task import Param, TaskError, TaskSpec
from policies.tasks.verifiers import build
from swarm.limits import MAX_SHARED_ROWS
from swarm.rows.pieces import PieceList
from swarm.wire.manifest import MAX_PARAM_TEXT

if TYPE_CHECKING:
    from node.config.sections.tasks import TaskConfig

RULES = ("prompt", "answer", "verifier")  # as JSON, since a manifest holds one line of printable ASCII
HUB = ("subset", "split", "revision")
PIECES, COUNT = "pieces", "count"
TRAVELLING = {*DIGESTS, *RULES, *HUB, PIECES, SIZE, COUNT, SOURCE}
HUB_PART = re.compile(r"[\w.+:%\[\]-]{0,80}", re.ASCII)  # subset or split
HUB_NAME = re.compile(r"hf:[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
MIB = 2**20  # what `swarm.traffic.rows` counts in; its other budgets count in millions of bytes


def described(task: TaskConfig, made: DataTask, rows: Sequence[str], most: float) -> dict[str, Param]:
    """The parameters of a swarm's data task; `rows` are canonical, and `most` of them, in MiB, may be shared.

    Raises TaskError for a task that is to be shared and cannot be.
    """
    params: dict[str, Param] = {**task.params, **made.digests, COUNT: len(rows)}
    rules = {key: json.dumps(getattr(task, key)) for key in RULES}
    long = [key for key, text in rules.items() if len(text) > MAX_PARAM_TEXT]
    if not long:
        params.update(rules)
    if HUB_NAME.fullmatch(task.path) and task.revision:
        params |= {SOURCE: task.path, **{key: getattr(task, key) for key in HUB}}
    if not task.share:
        return params
    if long:
        raise TaskError(
            f"{task.name}: an invite holds at most {MAX_PARAM_TEXT} characters of {' and of '.join(long)}: shorten "
            "it, move what all rows have in common into a column, or leave out share"
        )
    content = content_of(rows)
    limit = min(most * MIB, MAX_SHARED_ROWS)
    if len(content) > limit:
        raise TaskError(
            f"{task.name}: its rows have {len(content) / MIB:.1f} MB, and at most {limit / MIB:g} are shared: take a "
            f"part of them, raise swarm.traffic.rows (to {MAX_SHARED_ROWS // MIB} at most; whoever joins has to raise "
            "it too), or leave out share and give whoever you invite the file"
        )
    return params | {PIECES: PieceList.of(content).root.hex(), SIZE: len(content)}


def content_of(rows: Sequence[str]) -> bytes:
    """Canonical rows as they travel: a line each."""
    return "".join(f"{row}\n" for row in rows).encode("ascii")


def joined(spec: TaskSpec, own: TaskConfig | None, new: type[TaskConfig]) -> TaskConfig:
    """The task that an invite means, with what this node's own config says of it.

    Raises ValueError in words for an invite that says what no data task has.
    """
    _check(spec)
    params = dict(spec.params)
    rules = {key: _rule(spec, key) for key in RULES if key in params}
    if own is None:
        return new.model_validate({"name": spec.name, "params": params, **rules})
    unsaid = {key: value for key, value in rules.items() if key not in own.model_fields_set}
    return own.model_copy(update={"params": params, **unsaid})


def _check(spec: TaskSpec) -> None:
    params = spec.params
    if not set(DIGESTS) <= set(params) <= TRAVELLING:
        raise ValueError(
            f"it has to name {' and '.join(DIGESTS)}, and names {', '.join(sorted(params)) or 'neither'}"
        )
    if not all(re.fullmatch(r"[0-9a-f]{16}", str(params[key])) for key in DIGESTS):
        raise ValueError("its digests are not of 16 hex digits")
    texts = all(isinstance(value, str) for key, value in params.items() if key not in (SIZE, COUNT))
    numbers = all(type(params.get(key, 1)) is int for key in (SIZE, COUNT))
    if not (texts and numbers):
        raise ValueError("its parameters have other types")
    if not LEAST_ROWS <= int(params.get(COUNT, LEAST_ROWS)) <= MAX_ROWS:
        raise ValueError(f"it counts rows that no task has, {params[COUNT]}")
    if PIECES in params or SIZE in params:
        size = params.get(SIZE, 0)
        whole = re.fullmatch(r"[0-9a-f]{64}", str(params.get(PIECES, "")))
        if not (whole and isinstance(size, int) and 0 < size <= MAX_SHARED_ROWS):
            raise ValueError("its shared rows have no digest, or no size that rows may have")
    if SOURCE in params:
        pinned = re.fullmatch(r"[0-9a-f]{40}", str(params.get("revision", "")))
        if not (HUB_NAME.fullmatch(str(params[SOURCE])) and pinned):
            raise ValueError(f"its source is no {PREFIX}OWNER/NAME at a pinned revision")
        if not all(HUB_PART.fullmatch(str(params.get(key, ""))) for key in ("subset", "split")):
            raise ValueError("its subset or split is none that a data set has")


def _rule(spec: TaskSpec, key: str) -> Any:
    """A template or verifier, of the type that it has to have and without what a terminal would obey."""
    try:
        value = parse_json(str(spec.params[key]))
    except ValueError:
        raise ValueError(f"its {key} cannot be read") from None
    if key == "verifier":
        build.refuse_shape(value)
    elif not isinstance(value, str):
        raise ValueError(f"its {key} is no text")
    for text in _texts(value):
        refuse_control(text, f"its {key}")
    return value


def _texts(value: Any) -> Iterator[str]:
    """All texts in it, names of keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in (*value, *(value.values() if isinstance(value, dict) else ())):
            yield from _texts(part)
