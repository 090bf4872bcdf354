"""The swarm simulator (`murmur simulate`): thousands of nodes in one process, on a virtual clock, without sockets."""

from swarm.simulation.result import Recovery, SimulationResult
from swarm.simulation.run import Interrupted, Progress, simulate
from swarm.simulation.scenario import Partition, Scenario, ScenarioError

__all__ = [
    "Interrupted",
    "Partition",
    "Progress",
    "Recovery",
    "Scenario",
    "ScenarioError",
    "SimulationResult",
    "simulate",
]
