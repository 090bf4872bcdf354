"""What a node learns with: nouns, tasks and verifiers, advantages, and the policies themselves.

Knows no network and no process: `swarm` and `node` import from here, never the other way round.
"""
