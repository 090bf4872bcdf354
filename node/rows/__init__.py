"""Rows that a run lacks or shares: from the node's own store, the hub or the swarm, and only with its owner's word."""
