"""Rows of data tasks that a swarm hands on: cut in pieces with digests, kept on disk, served and fetched."""
