"""Debian's Chromium, driven by Playwright: pages whose every request and complaint is noted."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 90_000  # on a machine that does other things
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="no Chromium to open the page with: bash scripts/install_browser.sh, and pip install playwright",
)


@dataclass
class Opened:
    """A page in a browser, and what it did."""

    page: Any  # of Playwright
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Goes there, and waits until the run is shown."""
        self.page.goto(address)
        self.page.wait_for_selector("#main:not([hidden])")

    def until(self, words: str) -> None:
        """Waits until a reader sees these words."""
        self.page.get_by_text(words).first.wait_for(state="visible")

    def until_read(self, selector: str, *words: str) -> str:
        """What stands there, once it holds all these words. Raises AssertionError with what stands there instead."""
        from playwright.sync_api import expect

        place = self.page.locator(selector)
        for each in words:
            expect(place).to_contain_text(each, timeout=PATIENCE_MS, use_inner_text=True)
        return str(place.inner_text())

    def until_each(self, selector: str, *words: str) -> None:
        """Waits until there are as many such elements as words, and each holds its own. Raises AssertionError."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_contain_text(list(words), timeout=PATIENCE_MS)

    def until_true(self, expression: str) -> None:
        """Waits until an expression of the page's language is true. Raises AssertionError.

        The browser's own waiting evaluates words inside the page, which its content policy forbids from the second
        look on.
        """
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            self.page.wait_for_timeout(50)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window. Its processes end with it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, *, width: int = 1200, scheme: str = "light") -> Iterator[Opened]:
    """A page of its own, `width` pixels wide, in a light or dark colour scheme."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    shown = Opened(context.new_page())
    shown.page.on("request", lambda request: shown.requests.append(request.url))
    shown.page.on(
        "console",
        lambda told: shown.complaints.append(told.text) if told.type in ("error", "warning") else None,
    )
    shown.page.on("pageerror", lambda error: shown.complaints.append(str(error)))
    shown.page.on("dialog", lambda dialog: (shown.complaints.append("a dialog"), dialog.dismiss()))
    try:
        yield shown
    finally:
        context.close()
