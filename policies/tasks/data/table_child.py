"""Tables read in a process of its own, whose memory and computing are bounded: what a packed page unpacks to is known
only once it was unpacked, whatever the file says of itself.

`python -m policies.tasks.data.table_child` reads one JSON line {path, wanted} and writes a line a row, `[place,
columns]`, then `{"end": true}` or `{"error": words}`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

MEMORY_BYTES = 2**30 + 512 * 2**20  # address space, of which the library takes 600 MB
CPU_SECONDS = 300


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others set aside more addresses than the fence has
    from policies.tasks.data.parquet import unpacked_rows
    from policies.tasks.data.row import DataError

    request = json.loads(sys.stdin.readline())
    try:
        for row in unpacked_rows(Path(request["path"]), frozenset(request["wanted"])):
            _tell([row.place, dict(row.columns)])
        _tell({"end": True})
    except DataError as error:
        _tell({"error": str(error)})
    sys.stdout.flush()


def _tell(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main()
