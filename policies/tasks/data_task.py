"""Data tasks: the owner's own questions and answers, from a file or the hub, as a task that a swarm can agree on.

The full name carries digests over the rows and over the rules (templates and verifier): nodes with equal names have
equal problems and give equal rewards, wherever each has its rows from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from policies.error_words import complaint
from policies.install_hints import PackageMissing
from policies.plain_files import parse_json
from policies.rollout import Problem
from policies.settings import Settings
from policies.tasks.data.hub import PREFIX
from policies.tasks.data.row import DataError, DataMissing, Row
from policies.tasks.data.rows import read_rows
from policies.tasks.data.template import Template
from policies.tasks.held_out import divide
from policies.tasks.task import (
    HELD_OUT_SEED,
    Param,
    TaskError,
    TaskPackageMissing,
    TaskSourceMissing,
    TaskSpec,
)
from policies.tasks.verifiers.build import build_verifier
from policies.tasks.verifiers.verifier import Verifier, VerifierError

logger = logging.getLogger(__name__)

NAME = "data"
_NAME = re.compile(r"data(:[A-Za-z0-9][A-Za-z0-9_.-]{0,39})?")
LEAST_ROWS = 2  # one to train on, one to evaluate by
DRAW = 3  # of the rules' digest: raised when a seed meets another row
DIGEST = 16  # hex digits
SIZE, SOURCE = "size", "source"  # parameters that travel: where rows are to be had, no part of the task
DIGESTS = ("rows", "rules")  # the parameters that travel


class DataSettings(Settings):
    """Parameters of a data task. Of these, only the digests ever travel."""

    path: str = ""
    subset: str = ""
    split: str = "train"
    revision: str = ""
    prompt: str = "{question}"
    answer: str = "{answer}"
    verifier: str = "exact"  # a name, or JSON of a table or a list of tables
    rows: str = ""  # digests that the rows and rules must have; empty: whatever they have
    rules: str = ""
    count: int = 0  # rows that there must be, for the message where the digest differs; 0: not known
    pieces: str = ""  # what a swarm that shares the rows names them by


@dataclass(frozen=True, slots=True)
class DataTask:
    """Rows in the order of their hash. A seed meets the row at its place, counted round and round."""

    name: str
    digests: Mapping[str, Param]
    training: Sequence[tuple[str, str]]  # prompt and answer
    held_out: Sequence[tuple[str, str]]
    verifier: Verifier

    def problem(self, seed: int) -> Problem:
        rows, place = (
            (self.held_out, seed - HELD_OUT_SEED) if seed >= HELD_OUT_SEED else (self.training, seed)
        )
        prompt, answer = rows[place % len(rows)]
        return Problem(self.name, seed, prompt, answer)

    def row(self, seed: int) -> int:
        """The number of a training seed's row."""
        return seed % len(self.training)

    def longest(self, count: int) -> list[Problem]:
        """The problems of the longest prompts to train on: what does not fit into a model is known before a run."""
        places = sorted(range(len(self.training)), key=lambda place: -len(self.training[place][0]))
        return [self.problem(place) for place in places[:count]]

    def score(self, problem: Problem, completion: str) -> float | None:
        """What the verifier gives; None where it came to no end in its time."""
        return self.verifier.score(completion, problem.answer)


def is_data(name: str) -> bool:
    """Whether a task's name is that of a data task."""
    return name == NAME or name.startswith(f"{NAME}:")


def build_data_task(spec: TaskSpec) -> DataTask:
    """The task of a file, or of a data set on the hub. Raises TaskError with the place and what to change."""
    return _checked(spec, with_rows=False)[0]


def build_with_rows(spec: TaskSpec) -> tuple[DataTask, list[str]]:
    """The task, and its rows in their canonical form and order. Raises as `build_data_task`."""
    return _checked(spec, with_rows=True)


def _checked(spec: TaskSpec, *, with_rows: bool) -> tuple[DataTask, list[str]]:
    try:
        settings = DataSettings.model_validate(dict(spec.params))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"]))
        raise TaskError(f"{spec.name}: parameter {key!r}: {complaint(problem)}") from None
    if not _NAME.fullmatch(spec.name):
        raise TaskError(
            f"{spec.name!r} is no name of a data task: write data:NAME, with letters, digits and . _ - in NAME, and "
            "the file in path"
        )
    if not settings.path:
        raise TaskError(_without_rows(spec.name, settings))
    try:
        return _built(spec.name, settings, with_rows=with_rows)
    except (DataError, VerifierError) as error:
        raise _kind_of(error)(f"{spec.name}: {error}") from error


def _kind_of(error: Exception) -> type[TaskError]:
    if isinstance(error, PackageMissing):
        return TaskPackageMissing
    return TaskSourceMissing if isinstance(error, DataMissing) else TaskError


@dataclass(frozen=True, slots=True)
class _Reading:
    """What came of a file's rows under some rules."""

    digest: str
    count: int
    training: Sequence[tuple[str, str]]
    held_out: Sequence[tuple[str, str]]


# A start asks for each task three times, and a million rows take a minute: a file that is as it was is not read anew.
_readings: dict[tuple[object, ...], _Reading] = {}
MAX_READINGS = 16


def _built(name: str, settings: DataSettings, *, with_rows: bool) -> tuple[DataTask, list[str]]:
    """The rows are empty where they are not asked for and were read before."""
    prompt = Template.parse(settings.prompt, "prompt")
    answer = Template.parse(settings.answer, "answer")
    verifier, rules = build_verifier(_described(settings.verifier))
    stamp, rows = _stamp(settings, rules), list[str]()
    reading = None if with_rows else _readings.get(stamp)
    if reading is None:
        pairs, kept = _pairs(settings, prompt, answer, verifier)
        rows = sorted(kept)
        reading = _Reading(_digest(rows), len(rows), *_sides(pairs))
        if stamp and stamp == _stamp(settings, rules):
            if len(_readings) >= MAX_READINGS:
                _readings.clear()
            _readings[stamp] = reading
    digests: dict[str, Param] = {
        "rows": reading.digest,
        "rules": _digest([settings.prompt, settings.answer, rules, str(DRAW)]),
    }
    _check_digests(name, settings, digests, reading.count)
    full = f"{name}@{digests['rows']}.{digests['rules']}"
    return DataTask(full, digests, reading.training, reading.held_out, verifier), rows


def _stamp(settings: DataSettings, rules: str) -> tuple[object, ...]:
    """What a reading follows from; empty where a file's state does not say it, as of the hub."""
    if settings.path.startswith(PREFIX):
        return ()
    try:
        found = Path(settings.path).stat()
    except OSError:
        return ()
    state = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return (*state, settings.path, settings.prompt, settings.answer, rules)


def _pairs(
    settings: DataSettings, prompt: Template, answer: Template, verifier: Verifier
) -> tuple[dict[str, str], set[str]]:
    """Answers by prompt, and each row's canonical form. A row that is there twice counts once."""
    wanted = prompt.columns | answer.columns
    seen: dict[str, tuple[str, str]] = {}  # prompt -> answer and place
    kept: set[str] = set()
    keys = {name: json.dumps(name) for name in sorted(wanted)}
    unanswered: list[str] = []
    for row in read_rows(settings.path, wanted, settings.subset, settings.split, settings.revision):
        if not wanted <= row.columns.keys():
            prompt.refuse_unknown(row.columns, f"{settings.path}: {row.place}: prompt")
            answer.refuse_unknown(row.columns, f"{settings.path}: {row.place}: answer")
        question = (prompt.render(row, "prompt") or "").strip()
        right = (answer.render(row, "answer") or "").strip()
        if not question:
            raise DataError(
                f"{settings.path}: {row.place}: its prompt is empty: fill it in, or take the row out"
            )
        if not right:
            unanswered.append(row.place)
            continue
        _check_answer(verifier, right, f"{settings.path}: {row.place}")
        before = seen.setdefault(question, (right, row.place))
        if before[0] != right:
            raise DataError(
                f"{settings.path}: {row.place} asks what {before[1]} does, and wants another answer ({right[:40]!r}, "
                f"there {before[0][:40]!r}): take one out, or name another column in the prompt"
            )
        kept.add(_canonical(row, keys))
    if unanswered:
        raise DataError(
            f"{settings.path}: no answer in {unanswered[0]}{_more(len(unanswered) - 1)}: fill in what is missing, or "
            "take such rows out"
        )
    if len(seen) < LEAST_ROWS:
        raise DataError(
            f"{settings.path}: {len(seen)} different prompt{'s' * (len(seen) != 1)}; it takes {LEAST_ROWS} or more"
        )
    return {question: right for question, (right, _) in seen.items()}, kept


def _more(count: int) -> str:
    return f" and {count} more row{'s' * (count != 1)}" if count else ""


def _check_answer(verifier: Verifier, answer: str, place: str) -> None:
    try:
        verifier.check_answer(answer)
    except VerifierError as error:
        raise DataError(f"{place}: {error}") from None


def _canonical(row: Row, keys: Mapping[str, str]) -> str:
    """What a row says in the columns that are read, as JSON with sorted keys; others may differ between nodes.

    Put together of its parts: each text alone goes the encoder's short way, which halves the time of a row.
    """
    return f"{{{', '.join([f'{key}: {json.dumps(row.columns[name])}' for name, key in keys.items()])}}}"


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:DIGEST]


def _sides(pairs: Mapping[str, str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Rows to train on and rows for evaluation. By the prompt alone: another name or a changed file moves no row
    across, and of two tasks neither trains on what the other is judged by.
    """
    training, held_out = divide(NAME, pairs)
    return [(prompt, pairs[prompt]) for prompt in training], [(prompt, pairs[prompt]) for prompt in held_out]


def _check_digests(name: str, settings: DataSettings, digests: Mapping[str, Param], count: int) -> None:
    """Raises DataError that names each digest that differs."""
    sources = {"rows": f"the rows of {settings.path}", "rules": "the templates or the verifier"}
    counts = (f" of {count:,} rows", f" of {settings.count:,} rows") if settings.count else ("", "")
    differing = [
        f"{sources[key]} (digest here {digests[key]}{here}, there {wanted}{there})"
        for key, (here, there) in zip(DIGESTS, (counts, ("", "")), strict=True)
        if (wanted := getattr(settings, key)) and wanted != digests[key]
    ]
    if not differing:
        return
    hint = ""
    if settings.rows not in ("", digests["rows"]) and settings.pieces:
        hint = ". The swarm shares its rows: join without a path of your own to take them"
    if settings.rules not in ("", digests["rules"]):
        hint += ". Where templates and verifier are equal, the verifier is of another release: use the same"
    raise DataError(
        f"not those that this run, or the swarm, was begun with: {' and '.join(differing)}. A run goes on, and a "
        f"swarm agrees, on equal ones alone: take them as they were there, or begin a new run{hint}"
    )


def _described(text: str) -> str | dict[str, object] | list[dict[str, object]]:
    if not text.startswith(("{", "[")):
        return text
    try:
        described: dict[str, object] | list[dict[str, object]] = parse_json(text)
    except ValueError as error:
        raise VerifierError(f"verifier: not JSON ({error})") from None
    return described


def _without_rows(name: str, settings: DataSettings) -> str:
    if settings.rows:
        by_invite = "Join by the invite to take them from the swarm, or ask" if settings.pieces else "Ask"
        return (
            f"{name}: the swarm trains on rows with the digest {settings.rows} (templates and verifier: "
            f"{settings.rules}), and this node has no file of them. {by_invite} whoever invited you for the file and "
            f"its task, and join with --config FILE.toml, in which [[tasks]] has name = {name!r}, path, prompt, answer "
            "and verifier as there"
        )
    return (
        f"{name}: it has no rows: add path = 'FILE.jsonl' (or .csv, .parquet, hf:OWNER/NAME), and prompt and answer "
        "where its columns are not called question and answer"
    )
