"""Errors at the edge of the command: what happened, what was saved and what to do, in one line, and an exit code.

Exit codes: 0 done, 2 config or usage, 3 environment, 4 network, 5 diverged, 1 a fault of murmur's own; 128 + n where
signal n ended the command.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

from node.process_environment import loads_library, require_docstrings, set_for_libraries
from node.ui import interrupts
from node.ui.terminal.command_group import WholeSummaries
from node.ui.terminal.window import say_aside
from node.usage import empty_word, usage_words
from policies.error_words import OUTPUT, SHORTAGE, brief, chain, says
from policies.install_hints import install_anew
from swarm.log_lines import PrintableFormatter
from swarm.visible_text import visible

FAULT = 1
OWN_PACKAGES = ("node", "policies", "swarm")
BROKEN_PIPE = 141  # as a shell tells of a process that SIGPIPE ended

# errno -> what it means and what to do; `{file}` is what it was about.
SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full ({file}): free some space, or remove files (df -h, df -i)",
    errno.EDQUOT: "the disk quota is used up ({file}): free some space",
    errno.EFBIG: "{file} may not grow any further: raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "{file} lies on a read-only file system: choose another folder with --run-dir",
    errno.EACCES: "no permission for {file}: change its mode, or choose another path",
    errno.EPERM: "no permission for {file}: change its owner or mode, or choose another path",
    errno.ENOENT: "{file} is not there: check the path",
    errno.ENOTDIR: "a part of the path {file} is a file, not a folder: choose another path",
    errno.EISDIR: "{file} is a folder where a file was wanted: choose another path",
    errno.EEXIST: "{file} is in the way: move it, or choose another path",
    errno.ENOTEMPTY: "{file} is in the way: move it, or choose another path",
    errno.ENAMETOOLONG: "the path {file} is too long: choose a shorter one",
    errno.ELOOP: "{file} is a link that leads round in a circle: choose another path",
    errno.EMFILE: "too many files are open ({file}): raise the limit with ulimit -n 4096",
    errno.ENFILE: "this machine has too many files open ({file}): end other programs",
    errno.EIO: "the disk failed at {file}: look at the system's log, and choose another disk",
    errno.ESTALE: "the network file system lost {file}: mount it again",
    errno.ENOMEM: "no memory is left: end other programs, choose a smaller model, or raise its limit (ulimit -v)",
    errno.EAGAIN: "no other process or thread can be started: raise the limits (ulimit -u, ulimit -v)",
    errno.EADDRINUSE: "a port is taken: choose another",
}
KERNELS_OWN = ("/proc/", "/sys/")
LONGEST_PATH = 60  # characters of a path that is too long, in a message

# Errors that a user can mend, by their full names: whoever raised one has imported its module, and to end with
# another one, or with none, no module need be.
EXIT_CODES = {
    "node.bench.kit.options.BenchError": 2,
    "node.config.schema.ConfigError": 2,
    "node.evaluation.errors.EvaluationError": 2,
    "node.export.errors.ExportError": 2,
    "node.storage.run_folder.RunFolderError": 2,
    "node.storage.trust_lists.TrustError": 2,
    "node.ui.inspect.errors.InspectError": 2,
    "node.storage.checkpoint.NoSuchRound": 2,
    "policies.tasks.task.TaskError": 2,
    "policies.tasks.task.TaskSourceMissing": 3,
    "swarm.errors.InviteError": 2,
    "swarm.simulation.scenario.ScenarioError": 2,
    "node.storage.run_folder.FolderLostError": 3,
    "node.storage.checkpoint.CheckpointError": 3,
    "node.storage.store_file.StoreError": 3,
    "node.web.errors.DashboardError": 3,
    "policies.install_hints.PackageMissing": 3,
    "policies.policy.PolicyError": 3,
    "swarm.errors.ExtraMissing": 3,
    "swarm.errors.IdentityError": 3,
    "builtins.OSError": 3,
    "builtins.MemoryError": 3,
    "sqlite3.Error": 3,
    "swarm.errors.TransportError": 4,
    "policies.policy.DivergedError": 5,
}


def exit_code(error: Exception) -> int | None:
    """The exit code of an error that its user can mend; None for one that is murmur's own."""
    if isinstance(error, ImportError):
        return None if (error.name or "").partition(".")[0] in OWN_PACKAGES else 3
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    return next((EXIT_CODES[name] for name in names if name in EXIT_CODES), None)


def root_of(error: Exception) -> Exception:
    """What the machine or a library lacked, where that came as an error of another kind; else the error itself."""
    if exit_code(error) is not None:
        return error
    causes = [*chain(error)]
    for each in causes:
        if isinstance(each, MemoryError) or (isinstance(each, RuntimeError) and says(each, SHORTAGE)):
            return MemoryError()
        if isinstance(each, RuntimeError) and says(each, ("can't start new thread",)):
            return OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    if any(loads_library(each) for each in causes):
        return ImportError(f"{type(causes[-1]).__name__}: {brief(causes[-1])}")
    return error


def explain(error: Exception) -> str:
    """One line: what happened, what to do, what was saved and how to go on."""
    if isinstance(error, OSError) and type(error) in _PLAIN:
        said = _system_words(error)
    elif isinstance(error, MemoryError):
        said = SYSTEM_ERRORS[errno.ENOMEM]
    elif isinstance(error, ImportError):
        read = set_for_libraries(str(error))
        said = (
            f"a library cannot be loaded ({_last_line(error)}): "
            f"{f'unset what it may read here ({read}), ' if read else ''}see that memory is free (ulimit -v), or "
            f"install anew: {install_anew()}"
        )
    elif isinstance(error, sqlite3.Error):
        said = f"the event store cannot be used ({error}): see that its disk has space and lets itself be written"
    else:
        said = str(error)
    return f"{said}; {more}" if (more := interrupts.advice()) else said


ORDER = (
    *("demo", "init", "run", "silo", "join", "bootstrap", "doctor", "tasks", "config", "prompt"),
    *("dashboard", "runs", "stats", "rollouts", "replay", "peers", "eval", "export"),
    *("identity", "simulate", "bench", "arena"),
)


class EdgeGroup(WholeSummaries):
    """The commands, within the one place where errors become a line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which somebody new would try them."""
        return sorted(super().list_commands(ctx), key=lambda name: [*ORDER, name].index(name))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses empty words and words that no file can hold."""
        if said := empty_word(self, args):
            _say(f"murmur: {said}")
            raise typer.Exit(2)
        if odd := [word for word in args if not _is_text(word)]:
            _say(
                f"murmur: {odd[0]!r} is not UTF-8 text, as every name here must be: rename it, or choose another path"
            )
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **named: Any) -> Any:
        """`--version` and `--help` write as they are read."""
        with _edge():
            return super().make_context(*args, **named)

    def invoke(self, ctx: Any) -> Any:
        with _edge():
            require_docstrings()
            return super().invoke(ctx)


@contextmanager
def _edge() -> Iterator[None]:
    """Whatever ends a command comes out as a line and an exit code."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        number = stopped.number if isinstance(stopped, interrupts.Stopped) else signal.SIGINT
        code = end_stopped(number)
    except BrokenPipeError:
        code = end_quietly()
    except typer.Abort as aborted:
        code = end_unanswered(aborted)
    except typer.Exit:
        raise
    except _USAGE as error:
        code = end_misused(error)
    except Exception as error:  # noqa: BLE001  the last one who can say it in words; the trace is kept in a file
        code = end_with(error)
    else:
        return
    raise typer.Exit(code)


def prepare_streams() -> None:
    """What a terminal has no letter for is written as its number, and is no reason to end; so are controls in logs.

    Errors of standard output name it: the system's name nothing.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PrintableFormatter("%(message)s"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for method in ("write", "flush"):
        setattr(sys.stdout, method, partial(_as_output, getattr(sys.stdout, method)))


def _as_output(act: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return act(*arguments)
    except OSError as error:
        error.filename = OUTPUT
        raise


def end_misused(error: Any) -> int:
    """Tells what is wrong with a command line, and returns the exit code. A bare group's help tells itself."""
    if type(error).__name__ == "NoArgsIsHelpError":
        raise error
    _say(f"murmur: {usage_words(error)}")
    return 2


def end_stopped(number: int) -> int:
    """Tells what a signal ended, and returns the exit code."""
    _say(interrupts.ending(number))
    return 128 + number


def end_unanswered(aborted: typer.Abort) -> int:
    """Tells what ended a question: a signal, or the end of the input. Returns the exit code."""
    stopped = aborted.__context__
    if isinstance(stopped, EOFError):
        _say(
            "murmur: the input ended before the question was answered: answer it, or say it by an option (--help)"
        )
        return 2
    return end_stopped(stopped.number if isinstance(stopped, interrupts.Stopped) else signal.SIGINT)


def end_with(error: Exception) -> int:
    """Tells an error on standard error and returns the exit code. The trace of one that is ours goes to a file."""
    mendable = root_of(error)
    code = exit_code(mendable)
    if code is None:
        code, said = (
            FAULT,
            f"{type(error).__name__}: {error}; this is a fault of murmur: {_keep_trace(error)}",
        )
    else:
        said = explain(mendable)
    _say(f"murmur: {said}")
    return code


def end_quietly() -> int:
    """For a reader of our output that went away, as `head` does: nothing more can be told."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes at its end
    return BROKEN_PIPE


def _is_text(word: str) -> bool:
    """False for bytes of a command line that are not UTF-8: Python keeps them as surrogates."""
    return word.isascii() or not any("\ud800" <= character <= "\udfff" for character in word)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        say_aside(visible(line))


def _system_words(error: OSError) -> str:
    if error.errno == errno.ENOENT and error.filename is None and _is_adrift():
        return "the folder in which this command was started is gone: cd to one that is there"
    if error.errno is None and str(error):
        return str(error)  # of our own
    words = SYSTEM_ERRORS.get(error.errno or 0, "{file}: " + (error.strerror or str(error)))
    if error.filename == OUTPUT:
        return f"{OUTPUT} cannot be written: {words.replace(' ({file})', '').replace('{file}', 'it')}"
    file = "while reading or writing" if error.filename is None else str(error.filename)
    if error.errno in (errno.ENOENT, errno.EPERM, errno.EACCES) and file.startswith(KERNELS_OWN):
        return f"{file} lies in a folder of the system's own, where nothing can be made: choose another path"
    if error.errno == errno.ENOTDIR and Path(file).is_file():
        return f"{file} is a file, not a folder: choose another path"
    if error.errno == errno.ENAMETOOLONG and len(file) > LONGEST_PATH:
        file = f"{file[:LONGEST_PATH]}… ({len(file)} characters)"
    return words.replace("{file}", file)


def _last_line(error: Exception) -> str:
    """numpy explains itself in twenty lines, of which the last tells the cause."""
    return brief((str(error).strip().splitlines() or [type(error).__name__])[-1])


def _is_adrift() -> bool:
    """Whether the folder that this process works in was taken away."""
    try:
        os.getcwd()  # noqa: PTH109  what pathlib calls, and nothing is done with it
    except FileNotFoundError:
        return True
    return False


def _keep_trace(error: Exception) -> str:
    """Where the trace went, for a report; the whole of it where no file can be written."""
    trace = "".join(traceback.format_exception(error))
    try:
        handle, name = tempfile.mkstemp(prefix="murmur-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(trace)
    except OSError:
        return f"please report it with this trace\n{trace}"
    return f"please report it with {Path(name)}"


_USAGE: type[Exception] = typer.BadParameter.__mro__[1]  # click's error of usage
# Errors of the system itself. Other kinds of OSError are libraries' and our own, and have words for a person.
_PLAIN = {
    OSError, PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError,
    BlockingIOError, InterruptedError, TimeoutError, ConnectionError, ConnectionResetError,
    ConnectionRefusedError, ConnectionAbortedError, ProcessLookupError, ChildProcessError,
}  # fmt: skip
