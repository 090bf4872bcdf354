"""The swarm moves groups between nodes that do not trust each other: wire, transport, gossip, admission, sampling.

Knows the nouns and tasks of `policies` and nothing else of it.
"""
