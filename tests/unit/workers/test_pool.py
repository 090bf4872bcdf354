"""Worker processes: what never ends is ended, own work goes first, and a slow machine is no verdict."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from policies.tasks.verifiers import regex
from policies.tasks.verifiers.build import build_verifier
from policies.workers import child, pool
from policies.workers.pool import Worker, pool_cpu_seconds
from policies.workers.turns import Turns, for_peers

WORK = """
import os, signal, time
MEMORY_BYTES = 2**30
def input_of_a_child():
    import subprocess
    return subprocess.run(["cat"], stdout=subprocess.PIPE).stdout.decode()
class Mute(BaseException):
    def __str__(self): raise SystemExit
def greet(arguments): return {"given": list(arguments)}
def answer(question):
    do = question["do"]
    if do == "loop":
        while True: pass
    if do == "power": return {"is": 0 * 7 ** (10 ** 9)}
    if do == "memory": return {"is": len(bytearray(2**31))}
    if do == "deep":
        deep = lambda n: deep(n + 1)
        deep(0)
    if do == "sleep": time.sleep(question["seconds"] + 0.1)
    if do == "alarm":
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.alarm(60)
        while True: pass
    if do == "exit": os._exit(3)
    if do == "kill": os.kill(os.getpid(), signal.SIGSEGV)
    if do == "leave": raise SystemExit("bye")
    if do == "interrupt": raise KeyboardInterrupt
    if do == "mute": raise Mute
    if do == "fork" and os.fork() == 0: return {"is": "the fork"}
    if do == "read": return {"is": os.read(0, 99).decode() + input_of_a_child()}
    print("noise")
    return {"is": os.getpid()}
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    file = tmp_path / "work.py"
    file.write_text(WORK)
    made = Worker(file, ("a", "b"), flags=("-I", "-S"), cpu_seconds=0.3)
    yield made
    made.close()


def test_forks_and_readers_among_the_work_disturb_no_question(worker: Worker) -> None:
    pid = worker.ask(do="work")["is"]
    for _ in range(3):
        assert worker.ask(do="fork")["is"] == pid
        assert worker.ask(do="read")["is"] == ""
        assert worker.ask(do="work")["is"] == pid


def test_every_way_not_to_end_ends_and_the_next_question_is_answered(worker: Worker) -> None:
    """`power` stays in C, where no timer of the interpreter's interrupts it."""
    assert worker.greeting() == {"given": ["a", "b"]}
    for do, told in (
        ("loop", {"late": True}),
        ("power", {"late": True}),
        ("memory", {"failed": "MemoryError"}),
        ("deep", {"failed": "RecursionError"}),
        ("alarm", {"late": True}),  # of the work's own, in place of ours
        ("exit", {"failed": "it ended its own process, with exit code 3"}),
        ("kill", {"failed": "its process was ended by signal 11 (Segmentation fault)"}),
        ("leave", {"failed": "it raised SystemExit: bye"}),
        ("interrupt", {"failed": "it raised KeyboardInterrupt"}),
        ("mute", {"failed": "it raised Mute"}),
    ):
        answer = worker.ask(do=do)
        assert {key: answer[key] for key in told} == told, do
        assert "is" in worker.ask(do="work")


def test_what_waits_does_not_compute(worker: Worker) -> None:
    """The timer is one of time, and is set again for what is left."""
    assert "is" in worker.ask(do="sleep")


def test_the_timer_of_time_ends_work_once_and_only_when_its_computing_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed, waits = 0.0, []
    monkeypatch.setattr(child.time, "process_time", lambda: computed)
    monkeypatch.setattr(child.signal, "setitimer", lambda timer, seconds, *_: waits.append(round(seconds, 6)))
    monkeypatch.setattr(child.signal, "signal", lambda *_: None)
    monkeypatch.setattr(child.resource, "setrlimit", lambda *_: None)
    allowance = child._Allowance()
    allowance.begin(0.02)
    computed = 0.015
    allowance._look(signal.SIGALRM, None)
    assert waits[-1] == 0.005
    computed = 0.0199
    allowance._look(signal.SIGALRM, None)
    assert waits[-1] == child.LEAST_WAIT
    computed = 0.02
    with pytest.raises(child.Late):
        allowance._look(signal.SIGALRM, None)
    allowance._look(signal.SIGPROF, None)  # one that comes behind ends nothing else


def test_its_computing_is_counted_and_a_process_does_not_grow_old(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_POOL", {worker})  # without those of earlier tests, which end when they like
    monkeypatch.setattr(pool, "QUESTIONS", 3)
    assert len({worker.ask(do="work")["is"] for _ in range(6)}) == 2
    assert pool_cpu_seconds() == worker.spent() > 0


def test_a_worker_that_does_not_start_is_no_answer(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "nothing.py")
    assert worker.ask(do="work") == {"failed": "as it started, it ended its own process, with exit code 1"}


def test_own_work_goes_before_work_for_peers() -> None:
    turns, order = Turns(), list[str]()

    def own() -> None:
        with turns.turn():
            order.append("own")

    def of_peers() -> None:
        with for_peers(), turns.turn():
            order.append("peers")

    def waits(count: int) -> bool:
        return len(turns._changed._waiters) == count  # type: ignore[attr-defined]

    with turns.turn():
        threads = []
        for number, run in enumerate((of_peers, own, of_peers, own), 1):
            threads.append(threading.Thread(target=run))
            threads[-1].start()
            while not waits(number):
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == ["own", "own", "peers", "peers"]


@contextmanager
def slow_machine(worker: Worker) -> Iterator[None]:
    """The worker's process runs for one millisecond in sixteen, and not at all while it is looked away from."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            child = worker.process.child
            if child is not None:
                child.send_signal(signal.SIGSTOP)  # nothing where it has ended
                over.wait(0.015)
                child.send_signal(signal.SIGCONT)
            over.wait(0.001)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()


def test_a_right_answer_is_never_wrong_because_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, _ = build_verifier([{"name": "regex", "pattern": r"= (?P<answer>\d+)$"}, {"name": "number"}])
    with slow_machine(regex.SEARCHES):
        assert [verifier.score(f"so 3 + {n} = {n + 3}", str(n + 3)) for n in range(20)] == [1.0] * 20
    still = regex.SEARCHES.process.child
    assert still is not None
    still.send_signal(signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(regex.SEARCHES, "wall_seconds", 0.05)
        assert verifier.score("= 3", "3") is None  # on a machine that stands still
    assert verifier.score("= 3", "3") == 1.0
