"""`python -m node`: the same as `murmur`, for processes that start others by the interpreter they run in."""

from node.cli import main

main()
