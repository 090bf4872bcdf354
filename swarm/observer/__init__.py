"""The observer (`python -m swarm.observer`) looks at a swarm from outside over py-libp2p, without daemon or name.

A process of its own: libp2p and hivemind cannot be imported together. `client.py` starts it. Of this package
only `host` and what imports it loads libp2p.
"""
