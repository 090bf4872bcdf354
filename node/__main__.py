"""The entry point of `murmur` and of `python -m node`: signals are met before anything large is imported."""

import atexit
import gc
import os
import signal
import sys


def main() -> None:
    """Runs the command and ends the process with its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own would end these imports in a trace
    open_closed_streams()
    from node.ui.interrupts import end_at_once

    end_at_once()
    # As `swarm.process.end_quickly` does, which is more to import than some commands need.
    atexit.register(gc.freeze)
    from node.process_environment import clear_launcher_variables

    clear_launcher_variables()
    from node.cli import main as run_command

    run_command()


def open_closed_streams() -> None:
    """Standard streams that were closed at the start (`>&-`) lead nowhere.

    Else the next file that is opened gets a stream's number, and what a library prints goes into an event store.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the smallest number that is free: this one
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115


if __name__ == "__main__":
    main()
