"""Rows of a data set on the hub, by the library `datasets`, at one revision for good."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from policies.error_words import brief
from policies.settings import own_path
from policies.tasks.data.row import DataError, DataMissing, Row, row_of

PREFIX = "hf:"


def hub_rows(name: str, wanted: Collection[str], subset: str, split: str, revision: str) -> Iterator[Row]:
    """Streamed: no more is fetched than is read. `name` may be a folder of this machine, which needs no revision.

    Raises DataError for a revision that may move, and for what the library cannot find or read. The library (from
    version 4 on) runs no code of a data set's.
    """
    local = not revision and own_path(name).is_dir()
    if not local and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise DataError(
            f"{PREFIX}{name} needs revision = the 40 hex digits of a commit, as its page on the hub lists them: a "
            "branch's rows may change under a run"
        )
    if not local and Path(name).exists():
        raise DataError(
            f"{PREFIX}{name} is of the hub, and the library would read the {name!r} that is in this folder: start in "
            "another folder"
        )
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        found = load_dataset(
            str(own_path(name)) if local else name,
            subset or None,
            split=split,
            revision=None if local else revision,
            streaming=True,
        )
        for number, record in enumerate(found, 1):
            yield row_of(f"row {number}", record, wanted)
    except DataError:
        raise
    except OSError as error:  # no network, or no such data set: its errors are the system's
        raise DataMissing(f"{PREFIX}{name} cannot be read: {brief(error)}") from None
    except (DatasetsError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{PREFIX}{name} cannot be read: {brief(error)}") from None
