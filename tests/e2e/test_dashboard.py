"""`murmur dashboard` as its user types it, and its page in a real browser on a run that goes on."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Opened, in_a_browser, opened
from kept_rollouts import PEER, make_run
from murmur_command import QUICK, murmur, start
from sample_events import ROUND

from node.baseline.uplift import Uplift
from node.config.reading import load_config
from node.config.roles import as_silo
from node.storage.events import (
    EvaluationEvent,
    Event,
    ExternalEvent,
    History,
    LifeEvent,
    PeerEvent,
    ProblemEvent,
    Store,
)
from node.storage.run_folder import RunFolder
from node.storage.trust_lists import TrustFile
from node.web.server import DashboardServer
from swarm.wire.identity import Identity

pytestmark = pytest.mark.e2e

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
UPLIFT = Uplift(0.58, 0.42, 0.033, 0.287, 40.0, 41.3)
# Cells with words of theirs past the right edge of a narrow screen.
BEYOND = "all => all.filter(each => each.getBoundingClientRect().right > 375).map(each => each.innerText)"
SCREENS = ("learning", "swarm", "rollouts", "learning?round=2", f"swarm?peer={PEER}", "rollouts?kind=refused")
LONG = "\u202eW" * 400 + "<b>"  # a reader may be sent to an address, too
ASTRAY = (
    f"learning?round={LONG}",
    f"swarm?peer={LONG}",
    f"rollouts?task={LONG}",
    "rollouts?kind=none",
    "rollouts?page=9",
)


def written(path: Path, rounds: int, cpu_seconds: float, *more: Event) -> RunFolder:
    """A run folder as a node leaves it, with a held-out reward that rises to 0.5."""
    folder = RunFolder(path)
    folder.create(load_config("tiny", [f"rounds={rounds}"]))
    with closing(Store(folder.events)) as store:
        store.append(LifeEvent(0, "started", "started", {"peer": "12D3KooWMe"}))
        for number in range(1, rounds + 1):
            store.append(replace(ROUND, round=number, reward=number / 40, cpu_seconds=cpu_seconds))
        store.append(*(EvaluationEvent(n, n / 40, {"sort@1": n / 40, HOSTILE: 0.1}) for n in range(0, 21, 5)))
        store.append(*more)
    return folder


def play_on(folder: RunFolder, rounds: range, *more: Event) -> None:
    """More rounds of the same run, as its node would write them: the reward rises."""
    phases = {"sampling": 0.5, "scoring": 0.1, "exchange": 0.05, "update": 0.3}
    with closing(Store(folder.events)) as store:
        for number in rounds:
            store.append(replace(ROUND, round=number, reward=number / 40, phases=phases))
        store.append(*more)


@pytest.fixture
def hostile(tmp_path: Path) -> RunFolder:
    """A run of 20 rounds with rollouts, a peer that helps, and strings that want to be markup wherever a peer can."""
    folder = make_run(tmp_path / "hostile-1")
    helps = [PeerEvent(3, PEER, 4, 0, {"stale": 2}, standing="known", why=HOSTILE, usefulness=0.31)]
    helps += [PeerEvent(4, HOSTILE, 1, 1, {HOSTILE: 7, "reward": 1}, standing="resting")]
    taken = [ExternalEvent(number, PEER, "maximum@3", 3) for number in range(3, 9)]
    problem = ProblemEvent(5, HOSTILE, 3, 2, 4, 8, 0.5, None)
    told = LifeEvent(20, "resumed", HOSTILE)
    play_on(folder, range(3, 21), *helps, *taken, ExternalEvent(5, HOSTILE, HOSTILE, 1), problem, told)
    (folder.checkpoints / "round-00000020" / "policy" / "weights").mkdir(parents=True)
    (folder.checkpoints / "round-00000020" / "state.json").write_text("{}")
    return folder


@pytest.fixture
def server(hostile: RunFolder) -> Iterator[DashboardServer]:
    with closing(DashboardServer(hostile, 0)) as serving:
        yield serving


@in_a_browser
def test_nothing_of_a_peer_is_markup_and_no_request_leaves_the_machine(
    server: DashboardServer, shown: Opened
) -> None:
    for screen in SCREENS:
        shown.open(server.url + screen)
        shown.page.wait_for_timeout(300)  # for whatever a script of a peer would do
        assert shown.page.title().endswith("hostile-1 · murmur")
        images = shown.page.eval_on_selector_all("img", "all => all.map(each => new URL(each.src).pathname)")
        assert set(images) <= {"/rollout.png"}
        assert shown.page.locator("script").count() == 2
    shown.open(server.url + "rollouts?kind=external")
    shown.until("<script>document.title='owned'</script><img src=x onerror=alert(1)>")
    shown.open(server.url + "swarm")
    shown.until("document.title='owned'")
    assert shown.complaints == []
    assert [address for address in shown.requests if not address.startswith(server.url)] == []


@in_a_browser
def test_the_questions_of_an_owner_are_answered_by_what_is_seen_or_one_click(
    server: DashboardServer, shown: Opened
) -> None:
    page = shown.page
    shown.open(server.url)
    shown.until_read("#answers", "is it still learning", "It is still learning: own reward")
    shown.until_read("#answers", "sampling 5")  # where a round's time goes
    shown.until_read("#answers", "round-00000020", "export", "my-model")  # where the weights are
    page.get_by_role("link", name="Swarm").click()
    who = shown.until_read("#who", "helps most", PEER[-8:], "6 of its groups were in 6 updates", "+0.31")
    assert "refused most" in who and "reward 1" in who and "…lePeer1" not in who
    page.locator("#who").get_by_role("link").first.click()
    page.wait_for_url(f"**/swarm?peer={PEER}")
    shown.until("announced 700 s ago")  # why it was refused
    page.get_by_role("link", name="Rollouts", exact=True).click()
    page.locator("#rollouts-round").fill("2")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rollouts?round=2")
    page.get_by_role("link", name="maximum@3, seed 3").first.click()  # this problem, by whoever wrote for it
    page.wait_for_url("**/rollouts?task=maximum*seed=3")
    shown.until_each(".group h2", f"…{PEER[-8:]}", "own")
    assert shown.complaints == []


@in_a_browser
def test_the_owner_says_whom_to_take_from_by_the_address_at_the_terminal(
    server: DashboardServer, hostile: RunFolder, shown: Opened
) -> None:
    peer = Identity(bytes(32)).peer_id
    play_on(hostile, range(21, 22), PeerEvent(21, peer, 1, 0, {}, standing="newcomer"))
    shown.open(f"{server.url}swarm?peer={peer}")
    shown.until("Its record decides what is taken from it.")
    assert shown.page.get_by_role("button", name="Take nothing from it").count() == 0
    shown.page.goto("about:blank")
    shown.open(f"{server.url}swarm?peer={peer}#{server.key}")
    shown.page.wait_for_url(f"**/swarm?peer={peer}")  # the key is out of sight
    shown.page.get_by_role("button", name="Take nothing from it").click()
    shown.until("You said: nothing is taken from it.")
    assert TrustFile(hostile.trust).words() == {peer: "deny"}
    shown.page.get_by_role("link", name="the overview", exact=True).click()
    shown.until_read("#peers", "denied by you")
    shown.page.go_back()
    shown.page.get_by_role("button", name="Let its record decide").click()
    shown.until("Its record decides what is taken from it.")
    assert TrustFile(hostile.trust).words() == {} and shown.complaints == []


@in_a_browser
def test_the_address_keeps_what_is_looked_at(server: DashboardServer, shown: Opened) -> None:
    page = shown.page
    shown.open(f"{server.url}learning?round=5")
    shown.until("Round 5")
    page.get_by_role("link", name="the round after").click()
    shown.until("Round 6")
    page.go_back()
    shown.until("Round 5")
    shown.open(f"{server.url}rollouts?id=2")
    assert shown.until_read(".rollout.chosen h3", "reward 0.000").startswith("rollout 2 · reward 0.000")
    shown.open(f"{server.url}rollouts?kind=own&order=best&round=1")
    assert [page.locator(f"#rollouts-{name}").input_value() for name in ("kind", "order", "round")] == [
        "own",
        "best",
        "1",
    ]
    shown.open(f"{server.url}learning?round=99")
    shown.until("This run has no round 99 yet; its last is 20.")


@in_a_browser
def test_the_page_follows_a_run_and_says_when_it_no_longer_can(
    server: DashboardServer, hostile: RunFolder, shown: Opened
) -> None:
    shown.open(server.url)
    shown.until("round 20 of 20")
    play_on(hostile, range(21, 23))
    shown.until("round 22 of 22")
    server.close()
    shown.until("murmur dashboard does not answer: it may have ended. Shown is what was known at")


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_shows_all_without_a_sideways_scroll(
    server: DashboardServer, browser: Any, scheme: str
) -> None:
    with opened(browser, width=375, scheme=scheme) as shown:
        for screen in (*SCREENS, *ASTRAY):
            shown.open(server.url + screen)
            shown.page.wait_for_timeout(200)
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= 375, screen
            assert "\u202e" not in shown.page.locator("#main").inner_text() + shown.page.title(), screen
            assert shown.page.get_by_role("link", name="To the top").is_visible()
            assert shown.page.eval_on_selector_all("td", BEYOND) == [], screen
        red, green, blue = shown.page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")
        assert [each for each in shown.complaints if "400 (Bad Request)" not in each] == []


@in_a_browser
def test_a_silo_shows_nothing_of_a_swarm(shown: Opened, tmp_path: Path) -> None:
    alone = RunFolder(tmp_path / "silo-1")
    alone.create(as_silo(load_config("tiny", ["rounds=3"])))
    nothing = {"published": 0, "received": 0, "refused": {}, "trained_external": 0, "external_reward": None}
    with closing(Store(alone.events)) as store:
        store.append(*(replace(ROUND, round=number, **nothing) for number in range(1, 4)))
    with closing(DashboardServer(alone, 0)) as serving:
        for screen in ("learning", "learning?round=2", "rollouts"):
            shown.open(serving.url + screen)
            shown.until("own groups not trained on" if "=2" in screen else "round 3 of 3")
            assert shown.page.get_by_role("link", name="Rollouts", exact=True).is_visible()
            assert shown.page.get_by_role("link", name="Swarm").count() == 0
            seen = shown.page.locator("#main").inner_text().lower()  # without the words below every page
            found = [line for line in seen.splitlines() if re.search("sharing|received|published|peer", line)]
            hidden = (
                ["of peers"] if screen == "rollouts" else []
            )  # a choice, of which a browser tells all the same
            assert found == hidden, screen
            assert shown.page.eval_on_selector_all(".of-peers", "all => all.every(each => each.hidden)")
        shown.open(serving.url + "swarm")  # an address that was kept of another run
        shown.until_read("#main", "This run trains alone: it has no peers.")
        assert not shown.page.locator("#who").is_visible()
        assert shown.complaints == []


@in_a_browser
def test_a_keyboard_reaches_every_screen(server: DashboardServer, shown: Opened) -> None:
    page = shown.page
    shown.open(server.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Swarm"
    page.keyboard.press("Enter")
    page.wait_for_url("**/swarm")
    shown.until_each("nav a[aria-current=page]", "Swarm")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button, [role=img]')]"
        ".filter(each => !each.labels?.length && !each.textContent && !each.getAttribute('aria-label')).length"
    )
    assert unnamed == 0


@in_a_browser
def test_the_uplift_is_shown_with_both_sides(shown: Opened, tmp_path: Path) -> None:
    told = LifeEvent(20, "baseline", UPLIFT.summary, UPLIFT.as_dict)
    written(tmp_path / "run-1" / "baseline", 26, 1.6)
    run = written(tmp_path / "run-1", 20, 2.0, LifeEvent(20, "finished", HOSTILE), told)
    with closing(DashboardServer(run, 0)) as serving:
        shown.open(serving.url)
        text = " ".join(shown.page.locator("body").inner_text().split())
        for words in (
            "finished · round 20 of 20 · policy version 1 ·",
            "+0.160 held-out reward over the silo baseline’s, at equal compute 95 % interval +0.033 to +0.287",
            "In this run sharing helped: the whole interval is above 0.",
            "this node 0.580 40.0 s finished silo baseline 0.420 41.3 s",
        ):
            assert words in text
        held_out = shown.page.locator("#held-out")
        assert held_out.get_attribute("aria-label") == (
            "Held-out reward by round. this node: from 0.000 to 0.500. silo baseline: from 0.000 to 0.500."
        )
        assert shown.page.locator("#held-out canvas").count() == 1
        shown.page.get_by_label("CPU seconds").check()
        assert held_out.get_attribute("aria-label").startswith("Held-out reward by CPU seconds.")  # type: ignore[union-attr]


@in_a_browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_that_really_trains_is_followed_to_its_end(shown: Opened, tmp_path: Path) -> None:
    """Its own process writes the store; what hostile peers would have left there is written beside it."""
    process = start("silo", "tiny", "--rounds", "4", "--run-dir", "live", *QUICK, cwd=tmp_path)
    run = RunFolder(tmp_path / "live")
    try:
        until(lambda: bool(History(run.events).rounds()))
        with closing(Store(run.events)) as store:
            store.append(PeerEvent(1, HOSTILE, 1, 0, {HOSTILE: 3}, why=HOSTILE))
        with closing(DashboardServer(run, 0)) as serving:
            shown.open(serving.url)
            shown.until("round 4 of 4")
            shown.until("finished")
            shown.page.get_by_role("link", name="Rollouts", exact=True).click()
            shown.page.locator(".rollout").first.wait_for()
            shown.open(f"{serving.url}swarm")
            shown.until("document.title='owned'")
            assert shown.page.title() == "Swarm · live · murmur" and shown.complaints == []
            assert [address for address in shown.requests if not address.startswith(serving.url)] == []
    finally:
        process.terminate()
        process.communicate(timeout=90)


@in_a_browser
def test_small_figures_are_not_nought_at_an_axis(server: DashboardServer, shown: Opened) -> None:
    shown.open(server.url + "learning")
    marks = "import('/charts.js').then(({ tick }) => [0, 0.0005, -0.00075, 0.00125, 0.5, 100].map(tick))"
    assert shown.page.evaluate(marks) == ["0", "5e-4", "-7.5e-4", "0.00125", "0.5", "100"]


def until(holds: Callable[[], bool], seconds: float = 240.0) -> None:
    """Waits until something holds."""
    ended = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ended, "it never came about"
        time.sleep(0.2)


def test_the_command_serves_the_newest_run_until_ctrl_c(tmp_path: Path) -> None:
    written(tmp_path / "runs" / "join-1", 20, 2.0)
    process = start("dashboard", "--json", cwd=tmp_path)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert (ready["event"], ready["run"]) == ("ready", "runs/join-1")
    with urllib.request.urlopen(f"{ready['url']}data.json", timeout=60) as answer:
        assert json.load(answer)["node"]["round"] == 20
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and rest.startswith("murmur: stopped by Ctrl-C; the run is as it was,")
    assert rest.rstrip().endswith("dashboard runs/join-1")


def test_what_cannot_be_served_is_told_with_a_way_out(tmp_path: Path) -> None:
    nothing = murmur("dashboard", "elsewhere", cwd=tmp_path)
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("murmur: elsewhere holds no run: name the folder")
    written(tmp_path / "here", 20, 2.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = murmur("dashboard", "here", "--port", port, cwd=tmp_path)
    assert refused.returncode == 3 and f"port {port} of 127.0.0.1" in refused.stderr
    assert "Traceback" not in refused.stderr
