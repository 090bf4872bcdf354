"""Fixtures of the tests that open the dashboard in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import Opened, chromium, opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def shown(browser: Any) -> Iterator[Opened]:
    with opened(browser) as page:
        yield page
