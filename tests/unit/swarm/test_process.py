"""CPU seconds of a family of processes, with real children."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from swarm.process import FamilyClock, close_and_wait

BURN = """
import sys, time
while time.process_time() < 0.4:
    pass
print("burnt", flush=True)
sys.stdin.read()
"""
# The child's own child does the work, and ends first.
BURN_BELOW = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}], stdin=subprocess.DEVNULL)
sys.stdin.read()
"""


def child(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def test_running_children_and_theirs_count_and_stay_counted_when_they_end() -> None:
    before = FamilyClock().seconds()
    processes = [child(BURN), child(BURN_BELOW)]
    for process in processes:
        assert process.stdout and process.stdout.readline() == b"burnt\n"
    clock = FamilyClock()
    running = clock.seconds()
    assert running >= before + 0.7  # the kernel counts in hundredths of a second
    for process in processes:
        process.communicate()
    ended = clock.seconds()
    assert ended >= running  # a list of children that is not of this second counts nobody twice
    assert ended - running < 0.7


def test_it_never_falls_while_a_child_ends_and_is_waited_for() -> None:
    with child(BURN) as process:
        assert process.stdout and process.stdout.readline() == b"burnt\n"
        clock = FamilyClock()
        seen = [clock.seconds()]
        process.kill()
        seen.append(clock.seconds())  # as a zombie
        process.wait()
        seen.append(clock.seconds())
    assert seen == sorted(seen)
    assert clock.seconds() - seen[0] < 0.4  # the child's seconds are there once


@pytest.mark.parametrize(("script", "status"), [("sys.stdin.read()", 0), ("time.sleep(60)", -signal.SIGKILL)])
def test_a_process_ends_by_its_input_or_is_killed(script: str, status: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", f"import sys, time; {script}"], stdin=subprocess.PIPE)
    close_and_wait(process, 30.0 if status == 0 else 0.1)
    assert process.returncode == status


@pytest.mark.parametrize(
    "begun",
    [
        "from swarm.process import end_quickly; end_quickly()",
        "sys.argv = ['murmur', '--version']; from node.__main__ import main; main()",
        "sys.modules['swarm.observer.session'] = type('', (), {'run': int})\n"
        "from swarm.observer.__main__ import main; main()",
    ],
)
def test_the_interpreter_has_no_objects_to_look_through_at_its_end(begun: str) -> None:
    told = "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count(), file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{told}\n{begun}"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert int(done.stderr) > 1000, done.stderr
