"""The learning half of a node: tasks and verifiers, advantages, strategies, and the policies themselves.

Knows no network and no process: `swarm` and `node` import from here, never the other way round.
"""
