"""Ways through the dashboard's page in a real browser: pages of lists, places, tabs, addresses that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, in_a_browser, opened
from kept_rollouts import PEER, make_run
from sample_events import ROUND
from told_spans import SPANS

from node.storage.events import PeerEvent, Store
from node.web.server import DashboardServer

pytestmark = pytest.mark.e2e


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DashboardServer]:
    with closing(DashboardServer(make_run(tmp_path / "run-1"), 0)) as serving:
        yield serving


@in_a_browser
def test_a_long_list_is_read_page_by_page(shown: Opened, tmp_path: Path) -> None:
    run = make_run(tmp_path / "many-1", tuple(f"answer {place}" for place in range(90)))
    names = [f"{PEER[:-3]}{number:03}" for number in range(45)]
    with closing(Store(run.events)) as store:
        store.append(replace(ROUND, round=3), *(PeerEvent(3, name, 1, 0, {}) for name in names))
    with closing(DashboardServer(run, 0)) as serving:
        shown.open(serving.url + "rollouts?kind=external")
        seen: list[str] = []
        for page in ("1 to 40 of 90", "41 to 80 of 90", "81 to 90 of 90"):
            shown.until_each(".pager", page, page)
            seen += shown.page.locator(".rollout h3 a").all_inner_texts()
            if not page.startswith("81"):
                shown.page.get_by_role("link", name="page after").last.click()
        assert len(seen) == len(set(seen)) == 90
        shown.open(serving.url + "swarm")
        shown.until_read("#peers .pager", "1 to 20 of 46")
        shown.page.get_by_role("link", name="last page").click()
        shown.until_read("#peers .pager", "41 to 46 of 46")
        assert shown.page.evaluate("document.activeElement.dataset.pager") == "page"
        shown.open(serving.url + "learning?round=3")
        shown.page.get_by_role("link", name="page after").click()
        shown.until_read("#round .pager", "21 to 40 of 45")
    assert shown.complaints == []


@in_a_browser
def test_a_link_to_a_place_of_the_page_leaves_the_key_alone(server: DashboardServer, shown: Opened) -> None:
    peer = f"swarm?peer={PEER}"
    shown.open(f"{server.url}{peer}#{server.key}")
    shown.page.get_by_role("link", name="To the top").click()
    assert shown.page.url == server.url + peer and shown.page.evaluate("document.activeElement.id") == "top"
    shown.page.goto("about:blank")
    shown.open(f"{server.url}{peer}#main")  # as an address that was kept may end
    kept = "sessionStorage.getItem('murmur-key')"
    assert shown.page.evaluate(kept) == server.key
    shown.page.evaluate("location.hash = 'another-key'")  # pasted where the page is open already
    shown.until_true(f"{kept} === 'another-key' && !location.hash")


@in_a_browser
def test_lengths_of_time_are_told_as_by_the_words_of_the_page(server: DashboardServer, shown: Opened) -> None:
    shown.open(server.url)
    told = shown.page.evaluate(
        "all => import('/elements.js').then(({ span }) => all.map(span))", [each for each, _ in SPANS]
    )
    assert told == [words for _, words in SPANS]


@in_a_browser
def test_many_tabs_are_answered_for_only_those_that_are_seen_hold_a_line(
    server: DashboardServer, shown: Opened
) -> None:
    seen = "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true })"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    context = shown.page.context
    for _ in range(7):  # one more than the lines that a browser has to one server
        tab = context.new_page()
        tab.goto(server.url + "rollouts")
        tab.wait_for_selector(".rollout")
        tab.evaluate(f"window.away = true; {seen}; {tell}")
    tab.evaluate(f"window.away = false; {tell}")
    tab.get_by_role("link", name="Learning", exact=True).click()
    tab.get_by_text("round 2 of 2").wait_for(state="visible")


@in_a_browser
def test_what_was_read_before_a_round_ended_says_so_or_is_read_again(shown: Opened, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run-1")
    with closing(DashboardServer(run, 0)) as serving:
        shown.open(serving.url + "rollouts")
        shown.until("round 2 of 2")
        assert shown.page.locator("#rollouts-newer").inner_text() == ""
        other = shown.page.context.new_page()
        other.goto(serving.url + "learning?round=3")
        other.get_by_text("This run has no round 3 yet; its last is 2.").wait_for(state="visible")
        with closing(Store(run.events)) as store:
            store.append(replace(ROUND, round=3))
        other.get_by_role("rowheader", name="reward of own rollouts").wait_for(state="visible")
        shown.page.bring_to_front()
        shown.until("1 round was played since this list was read")
        shown.page.get_by_role("button", name="Look again").click()
        shown.until_true("!document.querySelector('#rollouts-newer').textContent")
    assert shown.complaints == []


@in_a_browser
def test_a_narrow_screen_folds_what_is_long(browser: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "many-1", tuple(f"answer {place}" for place in range(90)))
    with closing(Store(run.events)) as store:
        store.append(*(PeerEvent(number, PEER, 1, 0, {}) for number in range(3, 40)))
    with closing(DashboardServer(run, 0)) as serving, opened(browser, width=390) as narrow:
        for screen in (
            "learning",
            "learning?round=2",
            "swarm",
            f"swarm?peer={PEER}",
            "rollouts?kind=external",
        ):
            narrow.open(serving.url + screen)
            narrow.page.wait_for_timeout(500)
            assert narrow.page.evaluate("document.documentElement.scrollHeight") < 4500, screen
        narrow.page.get_by_text("37 more rollouts of this group").click()
        narrow.page.get_by_text("answer 50", exact=True).wait_for(state="visible")


@in_a_browser
def test_an_address_that_leads_nowhere_leads_back(server: DashboardServer, shown: Opened) -> None:
    shown.page.goto(server.url + "learning/%3Cscript%3E")
    assert "/learning/<script>" in shown.until_read("body", "Nothing is here")
    shown.page.get_by_role("link", name="overview").click()
    shown.until("round 2 of 2")
