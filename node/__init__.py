"""One running process: command line, config, loop, checkpoint, event store. Composes `policies` and `swarm`."""
