"""Tables and plots of docs/results.md, made again from finished cells: `make results`."""
