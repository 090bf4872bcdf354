"""Fills .venv for the make targets: says which step runs and how much came so far, takes up an install that broke off.

`python3 scripts/install.py run|dev|docs`. Nothing newer than Python 3.7 here: a Python that is too old for the
program must be able to read this far and say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 13)
BEAT = 15.0  # seconds between two signs of life
WORTH_TELLING = 5.0  # MB of a download
BEGUN = time.monotonic()  # when the install began

EXTRAS = {"run": "", "dev": "[envs,gguf,diffusion,dev]", "docs": "[docs]"}
SIZES = {
    "run": "about 1.5 GB with a CPU build of torch, 6 GB with the CUDA build that PyPI serves on Linux",
    "dev": "about 2 GB with a CPU build of torch, 6.5 GB with the CUDA build that PyPI serves on Linux",
    "docs": "as for a run, and 110 MB",
}


def say(text: str) -> None:
    """Broken between words in a window, and a line in a log."""
    lines = [f"install: {text}"]
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = textwrap.wrap(lines[0], width, break_long_words=False, break_on_hyphens=False)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main(kind: str) -> int:
    """Returns an exit code: 0 done, 3 when this machine lacks something, else pip's."""
    problem = "" if venv_starts() else lack()
    if problem:
        sys.stderr.write(problem + "\n")
        return 3
    steps = 2 if kind == "docs" else 3
    say(f"step 1 of {steps}: a virtual environment in .venv")
    make_venv()
    begun().touch()
    drop_halves()
    say(f"step 2 of {steps}: packages to {kind}, {SIZES[kind]}; this takes minutes")
    code = pip("--editable", "." + EXTRAS[kind])
    if code:
        words = "".join(log().read_text().splitlines(keepends=True)[-8:]).rstrip()
        sys.stderr.write(
            f"{words}\npip failed; all of its words are in {log()}. The same command goes on from here.\n"
        )
        return code
    if kind != "docs":
        install_observer(steps)
    begun().unlink()
    say(f"done: {megabytes()} MB in .venv")
    return 0


def lack() -> str:
    """What the Python that runs this lacks, and what to do; empty when it will do."""
    this = f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}"
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        others = [name for name in ("python3.11", "python3.12", "python3.13") if starts(name, "--version")]
        way = (
            "install one (Debian: apt-get install python3.11 python3.11-venv), then" if not others else "try"
        )
        command = f"make {os.environ.get('MAKE_GOAL', 'test')} PYTHON={(others or ['python3.11'])[0]}"
        return f"Murmuration needs Python 3.11, 3.12 or 3.13; {this}: {way}: {command}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        package = f"python3.{sys.version_info[1]}-venv"
        return (
            f"{this} without the module {error.name}, which makes .venv (Debian: apt-get install {package})"
        )
    return ""


def python() -> str:
    return str(VENV / "bin" / "python")


def log() -> Path:
    return VENV / "install.log"


def begun() -> Path:
    """There from the first change to the last."""
    return VENV / ".installing"


def starts(*command: str) -> bool:
    """Whether it runs to its end: a version manager may have stand-ins on the PATH that do not."""
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def venv_starts() -> bool:
    """Whether .venv has a Python of a version that will do, and pip."""
    version = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    return starts(python(), "-c", version) and starts(python(), "-m", "pip", "--version")


def make_venv() -> None:
    """A new one where there is none, or where it has no Python or pip that will do."""
    if venv_starts():
        if begun().exists():
            say("the last install broke off; what it finished stays, the rest is fetched again")
        return
    if VENV.exists():
        say("the .venv here has no Python or pip that will do: it is made anew")
    with signs_of_life(["making a virtual environment"]):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)


def drop_halves() -> None:
    """Forgets packages whose unpacking broke off; pip takes them for installed. It writes INSTALLER after all files."""
    for path in [
        *VENV.glob("lib/python*/site-packages/*.dist-info"),
        *VENV.glob("lib/python*/site-packages/~*"),
    ]:
        if path.name.startswith("~") or not all((path / mark).exists() for mark in ("INSTALLER", "RECORD")):
            say(f"{path.name} is only half there: installed again")
            shutil.rmtree(str(path), ignore_errors=True)


def install_observer(steps: int) -> None:
    """The extra that needs a compiler; without it all else works."""
    (wanted,) = re.findall(r'^observer = \["(.*)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    say(f"step 3 of {steps}: {wanted}, for `murmur peers INVITE` and LAN discovery")
    if pip(wanted):
        say(
            "py-libp2p could not be installed: `murmur peers INVITE` and LAN discovery stay off, all else works."
        )
        say("Its fastecdsa is compiled: on Debian, apt-get install gcc python3-dev libgmp-dev, and then")
        say(f"{python()} -m pip install -e '.[observer]'")


def pip(*wanted: str) -> int:
    """Installs, passes on the lines that tell of progress and writes all to the log. Returns pip's exit code."""
    command = [python(), "-m", "pip", "install", "--progress-bar", "off", "--no-input", *wanted]
    now = ["choosing versions that fit together"]
    with signs_of_life(now):
        process = subprocess.Popen(
            command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
        )
        with log().open("a") as file:
            for line in process.stdout or ():
                file.write(line)
                now[0] = doing(line) or now[0]
                note = progress(line)
                if note:
                    say(note)
        return process.wait()


def progress(line: str) -> str:
    """What a line of pip's is worth telling; empty for most."""
    fetched = re.match(r"\s+Downloading (\S+?)-\S+ \(([\d.]+) (MB|GB)\)", line)
    if fetched and (fetched.group(3) == "GB" or float(fetched.group(2)) >= WORTH_TELLING):
        return "fetching {}, {} {}".format(*fetched.groups())
    if line.startswith("Installing collected packages"):
        return f"unpacking {line.count(',') + 1} packages"
    begun = line.startswith("  Building wheel for") and "finished" not in line  # pip tells both
    return f"building {line.split()[3]}" if begun else ""


def doing(line: str) -> str:
    """What pip is at from this line on; empty where it does not say."""
    found = re.match(r"Collecting ([\w.-]+)|\s+Downloading (\S+?)-", line)
    return (
        f"choosing and fetching packages, now {found.group(1) or found.group(2)}" if found else progress(line)
    )


@contextmanager
def signs_of_life(now: list[str]) -> Iterator[None]:
    """Within the block a line now and then says what is done, `now[0]`; none comes after it."""
    done = threading.Event()
    teller = threading.Thread(target=tell_life, args=(done, now), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def tell_life(done: threading.Event, now: list[str]) -> None:
    """Packages are fetched first and unpacked at the end: their size stands still for long.

    Seconds count from the start of the whole install.
    """
    while not done.wait(BEAT):
        size = megabytes()
        if not done.is_set():  # to look takes long where there is much
            say(f"{time.monotonic() - BEGUN:.0f} s, still {now[0]}; {size} MB unpacked in .venv")


def megabytes() -> int:
    total = 0
    for folder, _, names in os.walk(str(VENV)):
        for name in names:
            with suppress(OSError):  # gone in the meantime
                total += Path(folder, name).lstat().st_size
    return total // 1_000_000


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit("install: stopped; the same command goes on from here")
    except (OSError, subprocess.CalledProcessError) as error:  # a full disk, a folder that may not be written
        sys.exit(f"install: {error}\nThe same command goes on from here.")
