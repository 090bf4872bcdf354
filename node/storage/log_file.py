"""Logs: everything of ours into the run folder, warnings of libraries too, nothing on standard output; all bounded."""

from __future__ import annotations

import logging
import logging.handlers
import shutil
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from swarm.log_lines import PrintableFormatter
from swarm.process import keep_private

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
OURS = ("node", "swarm", "policies")
MAX_BYTES = 5_000_000
NODE_LOG = "node.log"


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Rotation opens new files, which no other account shall read either."""

    def _open(self) -> TextIOWrapper:
        keep_private(Path(self.baseFilename))
        return super()._open()


def log_to_file(folder: Path) -> None:
    """Sends the process's log records to `folder/node.log`, rotated at 5 MB. Replaces earlier handlers.

    A record that cannot be written, as on a full disk, is lost without a word: the run has better things to tell.
    """
    logging.raiseExceptions = False
    folder.mkdir(parents=True, exist_ok=True)
    handler = _PrivateFile(folder / NODE_LOG, maxBytes=MAX_BYTES, backupCount=2, encoding="utf-8")
    handler.setFormatter(PrintableFormatter(FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def bound_logs(*folders: Path) -> None:
    """Cuts what other processes append to `*.log` there, such as the transport: above 5 MB, the last is kept as `.1`.

    Their files stay the same, since they hold them open; what they write meanwhile may be lost. Never raises OSError.
    """
    for path in (path for folder in folders for path in folder.glob("*.log")):
        with suppress(OSError):
            if path.name != NODE_LOG and path.stat().st_size > MAX_BYTES:
                older = path.with_name(f"{path.name}.1")
                keep_private(older)
                shutil.copyfile(path, older)
                with path.open("r+b") as file:
                    file.truncate(0)
