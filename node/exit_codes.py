"""Exit codes of the `murmur` command: 0 done, 2 config or usage, 3 environment, 4 network, 5 diverged."""

from __future__ import annotations


def exit_code(error: Exception) -> int | None:
    """The exit code of an error that is the user's to mend; None for one that is ours."""
    from node.bench.kit.options import BenchError
    from node.config.schema import ConfigError
    from node.storage.checkpoint import CheckpointError
    from node.storage.run_folder import RunFolderError
    from node.web.server import DashboardError
    from policies.policy import DivergedError, PolicyError
    from policies.tasks.task import TaskError
    from swarm.errors import IdentityError, InviteError, TransportError
    from swarm.simulation import ScenarioError

    codes: list[tuple[tuple[type[Exception], ...], int]] = [
        ((ConfigError, TaskError, InviteError, RunFolderError, BenchError, ScenarioError), 2),
        ((PolicyError, IdentityError, CheckpointError, DashboardError), 3),
        ((TransportError,), 4),
        ((DivergedError,), 5),
    ]
    return next((code for kinds, code in codes if isinstance(error, kinds)), None)
