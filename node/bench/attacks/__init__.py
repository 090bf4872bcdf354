"""Hostile peers against this node's own code: what they cost it, and what they take of it."""
