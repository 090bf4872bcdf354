"""`python docs/generate`: writes `docs/reference/`. Git ignores these pages, so they cannot lag behind the code."""

from __future__ import annotations

import sys
from pathlib import Path

from commands import commands_page
from config_keys import config_page

PAGES = {"config.md": config_page, "commands.md": commands_page}


def write_pages(folder: Path) -> None:
    """Writes every generated page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(__file__).parents[1] / "reference")
    sys.stderr.write("docs/reference is written\n")
