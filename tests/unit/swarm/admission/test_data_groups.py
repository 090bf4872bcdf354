"""Groups of data tasks between nodes: equal rows and rules meet, and others are another task."""

from __future__ import annotations

import json
from pathlib import Path

from fakes import ALICE, NODE, SWARM, ManualClock, body, encode, offer

from policies.rollout import Finish, Group, Rollout, Segment
from policies.tasks.data_task import DataTask, build_data_task
from policies.tasks.task import TaskSpec, score_group
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import RolloutVerifier
from swarm.admission.verdict import Outcome


def task_of(folder: Path, last: str, order: int = 1) -> DataTask:
    rows = [{"question": f"{i} + 1", "answer": str(i + 1)} for i in range(30)]
    rows.append({"question": "the last", "answer": last})
    file = folder / f"{last}{order}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[::order]))
    return build_data_task(TaskSpec("data:sums", {"path": str(file), "verifier": "number"}))


def test_a_group_is_scored_on_the_receiver_s_own_rows_and_refused_of_other_rows(tmp_path: Path) -> None:
    sender, receiver, other = task_of(tmp_path, "7"), task_of(tmp_path, "7", order=-1), task_of(tmp_path, "8")
    problem = sender.problem(3)
    rollouts = tuple(
        Rollout(text, (Segment(0, encode(text, Finish.STOP)),), Finish.STOP)
        for text in (problem.answer, "no")
    )
    group = score_group(sender, Group(problem, rollouts))
    node = RolloutVerifier(SWARM, NODE, {receiver.name: receiver}, encode, ManualClock())
    [(verdict, read)] = node.verify(*offer(body([group], ALICE)))
    assert verdict.outcome is Outcome.ACCEPTED and read is not None
    assert (read.problem.prompt, read.rewards) == (problem.prompt, (1.0, 0.0))
    stranger = RolloutVerifier(SWARM, NODE, {other.name: other}, encode, ManualClock())
    [(verdict, read)] = stranger.verify(*offer(body([group], ALICE)))
    assert (verdict.reason, read) == (Reason.TASK, None)
