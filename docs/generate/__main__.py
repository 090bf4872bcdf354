"""`python docs/generate`: writes `docs/reference/` and the pictures of the architecture page.

Git ignores the reference, so it cannot lag behind the code; the pictures are kept, for those who read on the web.
"""

from __future__ import annotations

import sys
from pathlib import Path

from commands import commands_page
from config_keys import config_page
from pictures import rollout_picture, rooms_picture

PAGES = {"config.md": config_page, "commands.md": commands_page}
PICTURES = {"rooms.svg": rooms_picture, "rollout.svg": rollout_picture}


def write_all(docs: Path) -> None:
    """Writes every generated page and picture below `docs`."""
    for folder, makers in (("reference", PAGES), ("images", PICTURES)):
        (docs / folder).mkdir(parents=True, exist_ok=True)
        for name, make in makers.items():
            (docs / folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(__file__).parents[1])
    sys.stderr.write("docs/reference and the pictures are written\n")
