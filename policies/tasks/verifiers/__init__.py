"""Verifiers of data tasks: what a completion is worth against a row's answer, each bounded in time on any text."""
