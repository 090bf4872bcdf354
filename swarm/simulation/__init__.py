"""`murmur simulate`: thousands of nodes in one process, seeded, on a virtual clock. No socket, no sleep."""

from swarm.simulation.outcome import Outcome, Recovery
from swarm.simulation.run import Interrupted, Progress, simulate
from swarm.simulation.scenario import Partition, Scenario, ScenarioError

__all__ = [
    "Interrupted",
    "Outcome",
    "Partition",
    "Progress",
    "Recovery",
    "Scenario",
    "ScenarioError",
    "simulate",
]
