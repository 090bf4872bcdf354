"""`murmur dashboard` as its user types it, and its page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from murmur_command import murmur, start

from node.baseline.uplift import Uplift
from node.config.reading import load_config
from node.storage.events import EvaluationEvent, Event, ExternalEvent, LifeEvent, PeerEvent, RoundEvent, Store
from node.storage.run_folder import RunFolder
from node.web.server import DashboardServer

pytestmark = pytest.mark.e2e

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
ROUND = RoundEvent(
    round=1, reward=0.25, rewards_by_task={}, published=4, received=3, set_aside=1, refused={HOSTILE: 2},
    trained_local=3, trained_external=1, missing_external=3, pool=0, peers=1, policy_version=1, loss=0.1,
    grad_norm=1.5, entropy=0.7, tokens=100, seconds=1.0, cpu_seconds=2.0, stage_one=0.3, hard=3, dropped={},
    carried=0, left=0, idle_share=0.0, stale_share=0.0,
)  # fmt: skip
UPLIFT = Uplift(0.58, 0.42, 0.033, 0.287, 40.0, 41.3)


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


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A node that is done, and told what sharing brought."""
    hostile = [PeerEvent(3, HOSTILE, 3, 1, {"stale": 2}), ExternalEvent(3, HOSTILE, "sort@1", 7)]
    told = LifeEvent(20, "baseline", UPLIFT.words, UPLIFT.facts)
    written(tmp_path / "run-1" / "baseline", 26, 1.6)
    return written(tmp_path / "run-1", 20, 2.0, *hostile, LifeEvent(20, "finished", HOSTILE), told)


@pytest.fixture
def server(run: RunFolder) -> Iterator[DashboardServer]:
    with closing(DashboardServer(run, 0)) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def browse(server: DashboardServer, profile: Path, seconds: float) -> tuple[str, list[str]]:
    """The page's markup after `seconds` of the browser's own time, and what it complained of."""
    assert CHROMIUM is not None
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu", "dev-shm-usage"]
    done = subprocess.run(
        [
            *(
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--no-first-run",
                *(f"--disable-{name}" for name in quiet),
            ),
            *(
                f"--user-data-dir={profile}",
                "--enable-logging=stderr",
                f"--virtual-time-budget={seconds * 1000:.0f}",
            ),
            *("--dump-dom", server.url),
        ],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def text_of(markup: str) -> str:
    """What a reader sees, on one line."""
    return " ".join(unescape(re.sub("<[^>]*>", " ", markup)).split())


in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the page with: apt-get install chromium"
)


@in_a_browser
def test_the_page_shows_the_uplift_and_takes_nothing_of_a_peer_for_markup(
    server: DashboardServer, tmp_path: Path
) -> None:
    markup, complaints = browse(server, tmp_path / "profile", 2.0)
    assert complaints == []
    assert "<title>run-1 · murmur</title>" in markup
    text = text_of(markup)
    for words in (
        "finished · round 20 of 20 · policy version 1 ·",
        "+0.160 held-out reward over the silo baseline’s, at equal compute 95 % interval +0.033 to +0.287",
        "In this run sharing helped: the whole interval is above 0.",
        "this node 0.580 40.0 s finished silo baseline 0.420 41.3 s",
        "trained on from peers 25 % 20 of 80 groups",
    ):
        assert words in text
    # Two tracks: a held-out curve of each, and each round beside the moving mean; held-out points are dots.
    assert len(re.findall("<polyline", markup)) == 6
    assert len(re.findall(r'<circle[^>]* r="3.5"', markup)) == 10
    # As task, peer, reason and note: always text.
    assert unescape(markup).count(HOSTILE) >= 4 and "<img" not in markup
    assert markup.count("<script") == 1


@in_a_browser
def test_curves_can_be_read_by_compute(server: DashboardServer, tmp_path: Path) -> None:
    page, kind = server.files["/"]
    rounds, seconds = b'value="round" checked', b'value="cpu_seconds"'
    chosen = page.replace(rounds, b'value="round"').replace(seconds, seconds + b" checked")
    server.files["/"] = chosen, kind  # as if a reader had chosen it: this browser has no hands
    markup, complaints = browse(server, tmp_path / "profile", 2.0)
    assert complaints == []
    held_out = (
        "Held-out reward by CPU seconds. silo baseline: from 0.000 to 0.500. this node: from 0.000 to 0.500."
    )
    assert f'aria-label="{held_out}"' in markup
    places = {
        (who, after): float(x)
        for x, who, after in re.findall(r'cx="([\d.]+)"[^>]*><title>([a-z ]+), round (\d+),', markup)
    }
    assert places["this node", "0"] == places["silo baseline", "0"]
    # 20 rounds of 2 CPU seconds against 20 of 1.6.
    origin = places["this node", "0"]
    ratio = (places["this node", "20"] - origin) / (places["silo baseline", "20"] - origin)
    assert ratio == pytest.approx(2.0 / 1.6)


@in_a_browser
def test_the_page_follows_a_run_and_says_when_it_no_longer_can(
    server: DashboardServer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewind_to_round(run, 5)
    look, looks = server.run.look, iter(range(5, 8))

    def look_and_play_on() -> dict[str, object]:
        number = next(looks)  # at the fourth look: StopIteration, which the web handler tells
        data = look()
        with closing(Store(run.events)) as store:
            store.append(replace(ROUND, round=number + 1))
        return data

    monkeypatch.setattr(server.run, "look", look_and_play_on)
    text = text_of(browse(server, tmp_path / "profile", 14.0)[0])
    assert "round 7 of 20" in text
    assert "The node is at round 7 of 20, its silo baseline at round 26." in text
    assert "The run cannot be read: StopIteration" in text and "Shown is what was known at" in text


def rewind_to_round(run: RunFolder, number: int) -> None:
    with closing(Store(run.events)) as store:
        store.rewind(number)
        store.append(LifeEvent(number, "resumed", "resumed"))


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
    assert (process.returncode, rest) == (0, "")


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
