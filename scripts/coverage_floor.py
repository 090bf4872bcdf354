"""Tells branch coverage by package and holds its floors: `python scripts/coverage_floor.py COVERAGE.json`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Percent of lines and branches; to be raised, never lowered: the aim is 95.
FLOORS = {"swarm": 95.0, "policies": 94.0}


def percentages(report: Mapping[str, Any]) -> dict[str, float]:
    """Covered lines and branches of each top package, of a report by `coverage json`."""
    covered, whole = Counter[str](), Counter[str]()
    for name, file in report["files"].items():
        package, figures = Path(name).parts[0], file["summary"]
        covered[package] += figures["covered_lines"] + figures["covered_branches"]
        whole[package] += figures["num_statements"] + figures["num_branches"]
    return {package: 100.0 * covered[package] / whole[package] for package in sorted(whole) if whole[package]}


def main(path: Path) -> int:
    """Returns an exit code: 1 below a floor, or where a package with a floor is missing."""
    reached = percentages(json.loads(path.read_text(encoding="utf-8")))
    for package, percent in reached.items():
        floor = f", floor {FLOORS[package]:g}" if package in FLOORS else ""
        sys.stdout.write(f"{package}: {percent:.1f} % of lines and branches{floor}\n")
    below = [package for package, floor in FLOORS.items() if reached.get(package, 0.0) < floor]
    if below:
        sys.stderr.write(
            f"coverage fell below its floor: {', '.join(below)}; see build/coverage/index.html\n"
        )
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
