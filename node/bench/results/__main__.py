"""`python -m node.bench.results [ROOT]`: what `make results` runs, in the root of a checkout."""

from __future__ import annotations

import sys
from pathlib import Path

from node.bench.kit.options import BenchError
from node.bench.results.page import regenerate
from policies.error_words import brief


def main() -> None:
    """Ends with 2 and a line on what to do where cells or page cannot be used."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    try:
        sys.stdout.write("\n".join(regenerate(root)) + "\n")
    except (BenchError, OSError) as error:
        sys.stderr.write(f"make results: {brief(error)}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
