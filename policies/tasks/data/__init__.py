"""Rows of a data task: read from a file or the hub within bounds, and made into prompts and answers by templates."""
