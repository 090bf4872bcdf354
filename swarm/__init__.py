"""Moving groups between strangers: identity, records, transports, gossip, verification and the pool.

Knows the nouns and tasks of `policies` and nothing else of it.
"""
