"""Screenshots of the page for the docs, of a run on this machine: `python docs/generate/screenshots.py runs/join-1`.

Wants Debian's Chromium (scripts/install_browser.sh) and Playwright (extra `dev`), and `murmur` on the PATH. Not part of
`make docs`: a run differs from the next, and the pictures are kept as they are until the page changes.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from pathlib import Path

from playwright.sync_api import sync_playwright

from node.storage.run_folder import find_run
from node.web.server import DashboardServer

IMAGES = Path(__file__).parents[1] / "images"
QUALITY = 60  # of a JPEG: some 60 kB each
# File -> path of the page, width and height in pixels, colour scheme.
PICTURES = {
    "page-learning.jpg": ("learning", 1100, 1250, "light"),
    "page-swarm.jpg": ("swarm", 1100, 760, "light"),
    "page-rollouts.jpg": ("rollouts", 1100, 800, "light"),
}


def main() -> None:
    """Writes every picture."""
    run = find_run(Path(sys.argv[1]) if sys.argv[1:] else None)
    with closing(DashboardServer(run, 0)) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (path, width, height, scheme) in PICTURES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(f"{server.url}{path}", timeout=120_000)
            page.wait_for_selector("#main:not([hidden])", timeout=120_000)
            page.wait_for_timeout(1000)  # for the last of it to be drawn
            page.screenshot(path=IMAGES / name, type="jpeg", quality=QUALITY)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
