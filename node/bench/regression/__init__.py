"""Regressions of benchmarks: figures that are kept with their plan and machine, and what moved since."""
