"""The `[[tasks]]` sections: what the policy is trained on, and own questions."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from pydantic import Field, model_validator

from policies.settings import Settings
from policies.tasks.code_task import CODE, is_code
from policies.tasks.data_task import SIZE, SOURCE, is_data
from policies.tasks.task import Param, TaskSpec

# Keys of a task that only a data task has.
DATA_KEYS = ("path", "subset", "split", "revision", "prompt", "answer", "verifier")


class TaskConfig(Settings):
    """One task that the policy is trained on; `[[tasks]]` once for each."""

    # Keys that other programs have for some of these: a mistake is told the right one.
    MEANT: ClassVar = {
        **dict.fromkeys(("source", "file", "files", "data", "dataset", "rows"), "path"),
        **dict.fromkeys(("question", "questions", "template", "input"), "prompt"),
        **dict.fromkeys(("answers", "solution", "target", "label", "output"), "answer"),
        **dict.fromkeys(("reward", "rewards", "scorer", "score", "verify"), "verifier"),
        "config": "subset",
    }

    name: str
    """Embedded family (`sort`), `digits`, `pickscore`, `hpsv2` or `imagereward` for images, reasoning-gym dataset
    (`rg:chain_sum`), `data:NAME` for own questions, or `code:NAME` for own code."""
    params: dict[str, Param] = Field(default_factory=dict)
    """Parameters of the generator; they are part of the task's full name, so peers must share them."""
    weight: float = Field(default=1.0, gt=0)
    """How often this node draws the task, relative to its others. A node's own choice."""
    path: str = ""
    """Of a data task: file of its rows (.jsonl, .csv, either in .gz, or .parquet), seen from the config's folder, or
    `hf:OWNER/NAME` for a data set of the hub. Never leaves this machine."""
    subset: str = ""
    """Of a data set of the hub: its part, where it has several."""
    split: str = "train"
    """Of a data set of the hub: its split."""
    revision: str = ""
    """Of a data set of the hub: the commit, 40 hex digits, so that its rows stay what they are."""
    prompt: str = "{question}"
    """Of a data task: what is asked, with names of columns in braces; `{{` and `}}` stand for braces."""
    answer: str = "{answer}"
    """Of a data task: the right answer, likewise."""
    verifier: str | dict[str, Any] | list[dict[str, Any]] = "exact"
    """Of a data task: `exact`, `number`, `choice`, `regex`, `json` or `math`; with options a table of `name` and those;
    a sum is a list of tables, each with a `weight`; one of an installed package has `name` and `package`."""

    share: bool = False
    """Of a data task: whoever joins by the swarm's invite may have its rows, from this node and from others that got
    them. They can be read and kept, and not called back."""
    code: str = ""
    """Of a code task: its class, `FILE.py:Class` seen from the config's folder, or `package.module:Class`. It runs with
    the owner's rights, and only because this key names it. Never leaves this machine."""

    @property
    def spec(self) -> TaskSpec:
        """All that the task is built from on this machine."""
        if is_code(self.name):
            # Whatever parameters say, such as an invite's: the class is that of the own config.
            return TaskSpec(self.name, {**self.params, CODE: self.code})
        if not is_data(self.name):
            return self.shared
        params = {key: value for key, value in self.params.items() if key not in (SIZE, SOURCE)}
        own: dict[str, Param] = {key: getattr(self, key) for key in DATA_KEYS if key != "verifier"}
        described = self.verifier if isinstance(self.verifier, str) else json.dumps(self.verifier)
        return TaskSpec(self.name, {**params, **own, "verifier": described})

    @property
    def shared(self) -> TaskSpec:
        """What an invite says of the task: of a data task its digests, never a path."""
        return TaskSpec(self.name, self.params)

    @property
    def key(self) -> tuple[str, str]:
        """What tells tasks apart: name and parameters, of a data task the name alone."""
        return self.name, "" if is_data(self.name) or is_code(self.name) else self.shared.fingerprint()

    @model_validator(mode="after")
    def _rows_are_for_data_tasks(self) -> TaskConfig:
        given = [
            key for key in (*DATA_KEYS, "share") if getattr(self, key) != type(self).model_fields[key].default
        ]
        if given and not is_data(self.name):
            raise ValueError(
                f"{self.name} takes no {', '.join(given)}: these are for own questions, whose name is data:NAME"
            )
        if self.code and not is_code(self.name):
            raise ValueError(f"{self.name} takes no code: that is for own code, whose name is code:NAME")
        return self
