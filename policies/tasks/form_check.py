"""Agreement of a prompt's answer format with the verifier of a task."""

from __future__ import annotations

from policies.rollout import Problem
from policies.tasks.task import ImageTask, Task
from policies.tasks.verifiers.answer_format import AnswerFormat


def form_fault(form: AnswerFormat, task: Task, problem: Problem) -> str | None:
    """What to change where a right answer, written as the prompt asks for it, is not taken for one by the verifier."""
    if form is AnswerFormat.FREE or isinstance(task, ImageTask) or not problem.answer:
        return None
    written = form.written(problem.answer)
    if task.score(problem, written) != 0:
        return None
    return (
        f"policy.prompt.answer_format = {form.value!r} asks for answers such as {written[:60]!r}, which {task.name} "
        "scores 0: choose another format, or a verifier that reads it"
    )
