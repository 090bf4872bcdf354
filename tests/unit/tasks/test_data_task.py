"""Data tasks: equal data have equal names, rows stay on their side, and whatever cannot be used says which row."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from policies.rollout import Finish, Group, Rollout
from policies.tasks import TaskError, TaskSpec, asks_for_images, build_task, data_task
from policies.tasks.curriculum import Curriculum
from policies.tasks.data_task import DataTask, build_data_task
from policies.tasks.task import HELD_OUT_SEED, TaskPackageMissing, score_group

ROWS = [{"question": f"{i} + {i}?", "answer": str(2 * i), "note": f"n{i}"} for i in range(100)]
EVIL = {"name": "regex", "pattern": "(a+)+$"}


def write(folder: Path, rows: Sequence[Mapping[str, object]], name: str = "sums.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def task(file: Path, name: str = "data:sums", **params: str) -> DataTask:
    return build_data_task(TaskSpec(name, {"path": str(file), "verifier": "number", **params}))


def test_a_task_of_a_file_asks_its_rows_and_scores_their_answers(tmp_path: Path) -> None:
    made = build_task(TaskSpec("data:sums", {"path": str(write(tmp_path, ROWS)), "verifier": "number"}))
    assert not asks_for_images(TaskSpec("data:sums"))
    problem = made.problem(5)
    assert problem.answer == str(2 * int(problem.prompt.split()[0]))
    rollouts = tuple(Rollout(text, (), Finish.STOP) for text in (f"it is {problem.answer}", "no", "x 1.5"))
    assert score_group(made, Group(problem, rollouts)).rewards == (1.0, 0.0, 0.0)


def test_a_file_is_read_once_for_a_start_and_anew_where_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    pairs = data_task._pairs

    def counted(settings: data_task.DataSettings, *rest: Any) -> Any:
        read.append(settings.path)
        return pairs(settings, *rest)

    monkeypatch.setattr(data_task, "_pairs", counted)
    file = write(tmp_path, ROWS)
    spec = TaskSpec("data:sums", {"path": str(file), "verifier": "number"})
    first, rows = data_task.build_with_rows(spec)
    assert len(rows) == 100 and build_data_task(spec) == first and len(read) == 1
    assert task(file, verifier="exact").name != first.name and len(read) == 2
    write(tmp_path, ROWS[1:])
    assert task(file).name != first.name and len(read) == 3
    file.unlink()
    with pytest.raises(TaskError, match="no such file"):
        task(file)


def test_the_rows_canonical_form_is_json_of_the_columns_that_are_read(tmp_path: Path) -> None:
    """Digests of runs and swarms of before hold."""
    rows = [
        {"question": 'dé "ja" \\ \U0001f600\t?', "answer": "1", "note": "n"},
        {"question": "2?", "answer": "2"},
    ]
    spec = TaskSpec(
        "data:sums", {"path": str(write(tmp_path, rows)), "prompt": "{question}", "verifier": "number"}
    )
    wanted = [{"answer": row["answer"], "question": row["question"]} for row in rows]
    assert data_task.build_with_rows(spec)[1] == sorted(json.dumps(row) for row in wanted)


def test_seeds_of_training_never_meet_a_row_of_evaluation_and_each_side_is_met_whole(tmp_path: Path) -> None:
    made = task(write(tmp_path, ROWS))
    assert len(made.training) + len(made.held_out) == 100 and 3 <= len(made.held_out) <= 20
    seen = {made.problem(seed).prompt for seed in range(len(made.training))}
    reserved = {p.prompt for p in Curriculum([made], [1.0], 0).held_out(len(made.held_out))}
    assert len(seen) == len(made.training) and len(reserved) == len(made.held_out)
    assert not seen & reserved
    assert made.problem(2**31 - 1).prompt in seen and made.problem(HELD_OUT_SEED + 10**9).prompt in reserved


def test_a_row_keeps_its_side_when_others_come_and_go(tmp_path: Path) -> None:
    some, all_of_them = task(write(tmp_path, ROWS[:50], "some.jsonl")), task(write(tmp_path, ROWS))
    assert set(some.held_out) == set(all_of_them.held_out) & {(r["question"], r["answer"]) for r in ROWS[:50]}


def test_two_tasks_over_one_file_keep_the_same_rows_from_training(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    assert task(file, "data:sums").held_out == task(file, "data:other-name").held_out


def test_equal_data_have_equal_names_and_problems_wherever_they_stand(tmp_path: Path) -> None:
    shuffled = [*ROWS, ROWS[7]]
    random.Random(1).shuffle(shuffled)
    others = [{**row, "note": "another"} for row in shuffled]  # of a column that is not read
    csv = tmp_path / "sums.csv"
    csv.write_text("answer,question\n" + "".join(f"{r['answer']},{r['question']}\n" for r in others))
    one, two, three = task(write(tmp_path, ROWS)), task(write(tmp_path, others, "two.jsonl")), task(csv)
    assert one.name == two.name == three.name
    assert one.name.startswith("data:sums@") and len(one.name) <= 96
    assert [one.problem(s) for s in range(99)] == [two.problem(s) for s in range(99)]


def test_whatever_differs_is_in_the_name_and_the_message_says_which(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    made = task(file)
    wanted = {key: str(value) for key, value in made.digests.items()}
    assert task(file, **wanted).name == made.name
    changed = write(tmp_path, [*ROWS[:-1], {"question": "99 + 99?", "answer": "197"}], "changed.jsonl")
    with pytest.raises(TaskError) as raised:
        task(changed, **wanted)
    assert (
        f"the rows of {changed} (digest here {task(changed).digests['rows']}, there {wanted['rows']})"
        in str(raised.value)
    )
    assert "verifier" not in str(raised.value)
    for params in ({"verifier": "exact"}, {"prompt": "{question} "}, {"answer": "#### {answer}"}):
        assert task(file, **params).name != made.name
        with pytest.raises(
            TaskError, match=r"the templates or the verifier \(digest here .*, there "
        ) as raised:
            task(file, **params, **wanted)
        assert "the rows of" not in str(raised.value)
    with pytest.raises(TaskError, match=r"the rows of .* and the templates or the verifier"):
        task(changed, **{**wanted, "verifier": "exact"})


def test_two_rows_are_enough_and_each_side_has_one(tmp_path: Path) -> None:
    made = task(write(tmp_path, ROWS[:2]))
    assert len(made.training) == len(made.held_out) == 1


def test_a_verifier_that_overruns_leaves_rollouts_without_a_verdict(tmp_path: Path) -> None:
    made = task(write(tmp_path, ROWS), verifier=json.dumps(EVIL))
    rollouts = tuple(Rollout(text, (), Finish.STOP) for text in ("a" * 4000 + "!", "aaa", "b"))
    scored = score_group(made, Group(made.problem(0), rollouts))
    assert [rollout.reward for rollout in scored.rollouts] == [None, 1.0, 0.0]
    assert scored.judged.rewards == (1.0, 0.0)


Q = {"question": "2 + 2?", "answer": "4"}
R = {"question": "3 + 3?", "answer": "6"}
BAD: list[tuple[list[Mapping[str, object]], dict[str, str], str]] = [
    ([{"q": "1", "a": "1"}], {}, "line 1: prompt: there is no column 'question'; there are a, q"),
    ([Q, {"question": "1"}], {}, "line 2: answer: there is no column 'answer'; there are question"),
    ([Q], {"prompt": "{question.upper}"}, "no attributes, indexes or formats; there are answer, question"),
    (
        [Q],
        {"answer": "{answer:>1000000000}"},
        "no attributes, indexes or formats; there are answer, question",
    ),
    ([Q], {"prompt": "{question[0]}"}, "no attributes, indexes or formats"),
    ([Q], {"prompt": "{"}, "prompt: '{' at character 1 names no column"),
    (
        [Q, R, {**Q, "answer": None}, {**R, "answer": " "}],
        {},
        "no answer in line 3 and 1 more row: fill in what is missing",
    ),
    ([{**Q, "answer": ""}], {}, "no answer in line 1: fill in"),
    ([Q, {**R, "question": "  "}], {}, "line 2: its prompt is empty"),
    ([Q, {**R, "answer": "six"}], {}, "line 2: the answer 'six' holds no number"),
    (
        [Q, R, {**Q, "answer": "5"}],
        {},
        "line 3 asks what line 1 does, and wants another answer ('5', there '4')",
    ),
    ([{**Q, "question": "caf\u00e9"}, {**R, "question": "cafe\u0301"}], {}, "line 2 asks what line 1 does"),
    ([Q, R], {"prompt": "\ud800{question}"}, "prompt: its template holds the control character U+D800"),
    ([Q, R], {"verifier": "[1]"}, "verifier takes a name, a table or a list of tables"),
    ([Q, R], {"verifier": '{"name": ["x"]}'}, "a verifier's table needs name"),
    ([Q, Q], {}, "1 different prompt; it takes 2 or more"),
    ([], {}, "the file is empty"),
    ([Q, R], {"verifier": "numbr"}, "the nearest is 'number'"),
    ([Q, R], {"verifier": "{"}, "verifier: not JSON"),
    ([Q, R], {"pth": "x"}, "parameter 'pth'"),
    ([Q, R], {"count": 2**70}, "parameter 'count': must be at most"),
]


@pytest.mark.parametrize(("rows", "params", "words"), BAD)
def test_what_cannot_be_used_names_the_row_and_the_mend(
    tmp_path: Path, rows: list[Mapping[str, object]], params: dict[str, str], words: str
) -> None:
    with pytest.raises(TaskError) as raised:
        task(write(tmp_path, rows), **params)
    assert words in str(raised.value) and str(raised.value).startswith("data:sums: ")


@pytest.mark.parametrize("name", ["data:", "data:a b", "data:../x", "data:" + "x" * 41, "data:é", "data:a@b"])
def test_names_are_short_and_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskError, match="no name of a data task"):
        task(write(tmp_path, ROWS), name)


def test_a_task_without_rows_says_how_to_come_by_them() -> None:
    with pytest.raises(TaskError, match=r"data:my.jsonl: it has no rows: add path = 'FILE.jsonl'"):
        build_task(TaskSpec("data:my.jsonl"))
    with pytest.raises(TaskError, match=r"rows with the digest 00ff .*no file of them.*--config FILE.toml"):
        build_task(TaskSpec("data:sums", {"rows": "00ff", "rules": "11"}))


def test_a_verifiers_missing_package_is_no_mistake_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("policies.tasks.verifiers.math.metadata.version", missing)
    with pytest.raises(TaskPackageMissing, match="data:sums: verifier math needs the package"):
        task(write(tmp_path, [Q, R]), verifier="math")
