"""The process that makes reasoning-gym's problems: deadlines in any thread, memory, and life after a death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from policies.tasks import TaskError, TaskSpec, build_task
from policies.tasks.gym_process import PROCESS, WORK, GymProcess
from policies.tasks.gym_work import READ_ONCE
from policies.tasks.task import TaskTimeoutError
from policies.workers.pool import Worker
from policies.workers.thread_seconds import thread_seconds

pytest.importorskip("reasoning_gym")

# What an invite may carry, each of which computes for hours or wants all memory there is.
ENDLESS = [
    TaskSpec("rg:count_primes", {"min_n": 10**9, "max_n": 10**9}),
    TaskSpec("rg:count_primes", {"min_n": 1, "max_n": 10**8}),
    TaskSpec("rg:number_sequence", {"max_complexity": 10**6}),
    TaskSpec("rg:spell_backward", {"min_word_len": 1, "max_word_len": 10**9, "data_ratio": 0.0}),
    TaskSpec("rg:spiral_matrix", {"min_n": 10**5, "max_n": 10**5}),
    TaskSpec("rg:binary_alternation", {"min_n": 10**9, "max_n": 10**9}),
]


@pytest.fixture(scope="module")
def process() -> Iterator[GymProcess]:
    made = GymProcess(Worker(WORK, cpu_seconds=1.0))
    yield made
    made.worker.close()


def test_a_problem_is_the_library_s(process: GymProcess) -> None:
    question, answer = process.problem("chain_sum", 7, {"max_terms": 2, "max_digits": 1})
    assert question.endswith("6 + 0 =") and answer == "6"
    assert "max_terms" in process.parameters()["chain_sum"]


@pytest.mark.parametrize("dataset", sorted(READ_ONCE))
def test_a_dataset_that_is_read_once_draws_what_a_fresh_one_draws(process: GymProcess, dataset: str) -> None:
    for params in ({}, {"max_word_len": 5}):
        drawn = [process.problem(dataset, seed, params) for seed in range(8)]
        assert len(set(drawn)) > 4
        fresh = GymProcess(Worker(WORK, cpu_seconds=1.0))
        with closing(fresh.worker):
            assert fresh.problem(dataset, 7, params) == drawn[7] == process.problem(dataset, 7, params)


def test_what_computes_for_ever_ends_in_words_and_the_next_problem_is_made(process: GymProcess) -> None:
    endless = {"min_n": 10**8, "max_n": 10**8}
    with pytest.raises(
        TaskTimeoutError, match=r"rg:count_primes takes over 1 s .* min_n = 100000000.*smaller"
    ):
        process.problem("count_primes", 0, endless)
    assert process.problem("gcd", 1, {}) == process.problem("gcd", 1, {})


@pytest.mark.parametrize("spec", ENDLESS, ids=lambda spec: spec.name)
def test_no_parameters_keep_a_task_from_being_refused_in_time(
    spec: TaskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROCESS.worker, "cpu_seconds", 1.0)
    with pytest.raises(TaskError, match=spec.name):
        build_task(spec)


def test_the_deadline_holds_in_a_thread_that_gets_no_signals(process: GymProcess) -> None:
    with ThreadPoolExecutor(1) as gossip:
        late = gossip.submit(process.problem, "count_primes", 0, {"min_n": 10**8, "max_n": 10**8})
        assert isinstance(late.exception(), TaskTimeoutError)


def test_a_child_that_does_not_answer_is_killed_and_replaced() -> None:
    """Its own timer is far off here, as it is in code that never returns to the interpreter."""
    stuck = GymProcess(Worker(WORK, cpu_seconds=1e6, wall_seconds=0.5))
    stuck.parameters()
    child = stuck.worker.process.child
    assert child is not None
    with pytest.raises(TaskTimeoutError, match=r"takes over"):
        stuck.problem("count_primes", 0, {"min_n": 10**8, "max_n": 10**8})
    assert child.returncode == -signal.SIGKILL
    stuck.worker.wall_seconds = 60.0
    assert stuck.problem("gcd", 1, {})[1].isdigit()
    assert stuck.worker.process.child is not child
    stuck.worker.close()


def test_a_killed_child_is_replaced(process: GymProcess) -> None:
    process.parameters()
    assert process.worker.process.child is not None
    process.worker.process.child.kill()
    process.worker.process.child.wait()
    assert process.problem("gcd", 1, {})[1].isdigit()


def test_a_child_that_dies_over_a_problem_is_told(process: GymProcess) -> None:
    process.parameters()
    child = process.worker.process.child
    assert child is not None
    child.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(process.problem, "gcd", 1, {})
        while not process.worker.turns.held:
            time.sleep(0.01)
        child.kill()
        error = asked.exception()
    assert isinstance(error, TaskError) and "its process was ended by signal 9" in str(error)


def test_its_computing_is_counted() -> None:
    process = GymProcess()
    assert process.worker.spent() == 0.0
    process.problem("gcd", 1, {})
    first = process.worker.spent()
    process.problem("zebra_puzzles", 1, {})
    assert 0 < first < process.worker.spent()
    process.worker.close()
    assert process.worker.spent() == 0.0


def test_a_problem_that_no_policy_could_read_is_refused(process: GymProcess) -> None:
    with pytest.raises(TaskError, match=r"a problem of \d{6,} characters"):
        process.problem("chain_sum", 0, {"min_terms": 60_000, "max_terms": 60_000})


def test_problems_of_two_threads_do_not_mix(process: GymProcess) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda seed: process.problem("gcd", seed % 5, {}), range(40)))
    assert made == [process.problem("gcd", seed % 5, {}) for seed in range(40)]


def test_it_ends_with_whoever_started_it() -> None:
    program = (
        "from policies.tasks.gym_process import PROCESS; PROCESS.parameters(); "
        "print(PROCESS.worker.process.child.pid, flush=True); import os; os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    child = int(done.stdout)
    for _ in range(600):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} is still there")


def test_computing_is_charged_to_the_thread_that_asked() -> None:
    def charged() -> float:
        return thread_seconds() - time.thread_time()

    process, before = GymProcess(), charged()
    process.problem("zebra_puzzles", 1, {})
    mine = charged()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(charged).result() == pytest.approx(0.0, abs=1e-3)
        other.submit(process.problem, "zebra_puzzles", 2, {}).result()
        assert other.submit(charged).result() > 2e-3
    assert charged() == pytest.approx(mine, abs=1e-3) and mine > before + 2e-3
    process.worker.close()
    assert charged() == pytest.approx(mine, abs=1e-3)
