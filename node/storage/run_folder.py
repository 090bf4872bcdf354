"""One run = one folder, locked while a node runs; `RunFolder` has the names of all that lies in it."""

from __future__ import annotations

import difflib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path

from node.config.reading import read_resolved, resolved_json
from node.config.schema import Config
from policies.drafts import draft_file
from policies.plain_files import read_text, require_plain
from policies.settings import own_path
from swarm.wire.identity import Identity

LOCK = ".lock"
LOCK_ATTEMPTS = 5
DEMO_SWARM = "bootstrap"  # in the folder of a demo: that of the peer that its nodes join through
NAMED_RUNS = 8  # in a message
OPEN_FILES = Path("/proc/self/fd")  # links to where open files lie now, where the system has such


class RunFolderError(ValueError):
    """A run folder that is taken, missing or in use; the message says what to do."""


class RunFolderInUse(RunFolderError):
    """Another process holds the folder."""


class FolderLostError(RuntimeError):
    """The folder of the run under way was removed, moved or emptied. `moved`: where it lies now, if that is known."""

    def __init__(self, said: str, moved: Path | None = None) -> None:
        super().__init__(said)
        self.moved = moved


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a process cannot do without in the folder that it holds, and what to say where it was taken away."""

    files: tuple[str, ...]  # any of them; without all of them the folder was emptied
    meanwhile: str
    moved: str  # follows the new place
    lost: str
    emptied: str


RUN = Keeping(
    files=("config.json",),
    meanwhile="while its run went on",
    moved="with what was saved",
    lost="what it kept is lost, its checkpoints too; start a new run",
    emptied="which cannot go on from there: start a new one in another --run-dir",
)


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """A path, and which folder lay there when its lock was taken."""

    path: Path
    lock: TextIOWrapper
    number: tuple[int, int] | None
    keeping: Keeping = RUN

    @property
    def is_here(self) -> bool:
        """Whether the path still leads to the folder that was locked."""
        return number_of(self.path) == self.number

    def check(self) -> None:
        """Raises FolderLostError where the path leads to no folder, to another one, or to an emptied one."""
        told = self.keeping
        if not self.is_here:
            found = "another folder lies there now" if self.path.exists() else "nothing lies there now"
            moved = self._moved_to()
            if moved is None and os.fstat(self.lock.fileno()).st_nlink == 0:
                rest = told.lost
            else:
                rest = f"it is {moved or 'where it was moved to'}, {told.moved}"
            raise FolderLostError(
                f"the run folder {self.path} was taken away {told.meanwhile}, and {found}: {rest}", moved
            )
        if not any((self.path / name).exists() for name in told.files):
            raise FolderLostError(f"the run folder {self.path} was emptied {told.meanwhile}, {told.emptied}")

    def _moved_to(self) -> Path | None:
        with suppress(OSError):
            moved = (OPEN_FILES / str(self.lock.fileno())).readlink().parent
            return moved if number_of(moved) == self.number else None
        return None


@dataclass(frozen=True, slots=True)
class RunFolder:
    path: Path
    place: HeldPlace | None = field(default=None, compare=False, repr=False)  # where this process holds it

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def events(self) -> Path:
        return self.path / "events.sqlite"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def evaluation(self, round_number: int) -> Path:
        """What `murmur eval` found of the checkpoint of a round."""
        return self.path / "evaluations" / f"round-{round_number:08d}.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def peer_cache(self) -> Path:
        return self.path / "peers.txt"

    @property
    def baseline(self) -> RunFolder:
        """Where the run's silo baseline keeps its own; runs of before called it `twin`."""
        old = RunFolder(self.path / "twin")
        return old if old.config.exists() else RunFolder(self.path / "baseline")

    @property
    def invite(self) -> Path:
        return self.path / "invite.txt"

    @property
    def trust(self) -> Path:
        """The owner's words on single peers."""
        return self.path / "trust.json"

    @property
    def secret(self) -> Path:
        return self.path / "member.secret"

    @property
    def cause(self) -> Path:
        """What ended the run in the middle of a round, in a line; not there where nothing could tell of it."""
        return self.path / "ended.txt"

    def read_cause(self) -> str:
        """Empty where the end of the run was not told of."""
        try:
            return read_text(self.cause).strip()
        except (OSError, ValueError):
            return ""

    def identity(self, config: Config) -> Path:
        return own_path(config.identity) if config.identity else self.path / "identity.key"

    def create(self, config: Config, secret: bytes = b"") -> Config:
        """Makes the folder with the resolved config, and the secret of a private swarm if there is one.

        Gives the config as it is kept: with its seed, derived from the identity where none was set. Raises
        RunFolderError if a run or a bootstrap is there, IdentityError for a damaged key file.
        """
        self.refuse_demo()
        if self.config.exists():
            raise RunFolderError(
                f"{self.path} already holds a run: add --resume, or choose another --run-dir"
            )
        if self.invite.exists():
            raise RunFolderError(
                f"{self.path} is a bootstrap's, and its invites lead to the key there: choose another --run-dir"
            )
        for folder in (self.path, self.checkpoints, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        if secret:
            self.keep_secret(secret)
        if config.seed is None:
            # From the secret half of the key: what a node will meet next is nobody else's to know.
            config = config.seeded(Identity.load_or_create(self.identity(config)).derive("run seed"))
        write_atomic(self.config, resolved_json(config))
        return config

    def keep_secret(self, secret: bytes) -> None:
        """Writes a private swarm's secret, for its owner's eyes only."""
        write_atomic(self.secret, secret.hex() + "\n", mode=0o600)

    def read_secret(self) -> bytes:
        """A private swarm's secret; empty where none is kept. Raises RunFolderError for a damaged file."""
        try:
            return bytes.fromhex(read_text(self.secret, encoding="ascii").strip())
        except FileNotFoundError:
            return b""
        except ValueError as error:
            raise RunFolderError(f"{self.secret} is damaged: join again with the invite") from error

    @property
    def holds_demo(self) -> bool:
        """Whether runs of a demo's nodes lie in the folder, which has their config and is none itself."""
        if self.events.exists():
            return False
        begun = self.config.exists() and (self.path / DEMO_SWARM).is_dir()
        return begun or any(self.path.glob("swarm-*/events.sqlite"))

    def refuse_demo(self) -> None:
        """Raises RunFolderError for the folder of a demo: one of its nodes can go on, and not the whole."""
        if not self.holds_demo:
            return
        nodes = sorted(str(config.parent) for config in self.path.glob("swarm-*/config.json"))
        ways = f"name one of its nodes, {', '.join(nodes)}, or" if nodes else "no node of it began:"
        raise RunFolderError(f"{self.path} holds a demo: {ways} another run folder")

    def read_config(self) -> Config:
        """Raises RunFolderError for a folder without a run, and for that of a demo."""
        self.refuse_demo()
        if not self.config.is_file():
            raise RunFolderError(no_run(self.path))
        return read_resolved(self.config)

    def lock(self) -> TextIOWrapper:
        """Holds the folder until the returned file is closed or the process ends, however it ends."""
        require_plain(self.path / LOCK)
        holder = (self.path / LOCK).open("a+", encoding="ascii")
        for attempt in range(LOCK_ATTEMPTS):  # a reader that asks `in_use` holds it for a moment
            try:
                fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return holder
            except BlockingIOError:
                time.sleep(0.05 if attempt + 1 < LOCK_ATTEMPTS else 0.0)
        holder.close()
        raise RunFolderInUse(
            f"{self.path} is in use by another node: stop it, or choose another --run-dir{self._idle()}"
        )

    @contextmanager
    def held(self, keeping: Keeping = RUN) -> Iterator[RunFolder]:
        """The folder, locked, which notices when it is taken away."""
        with closing(self.lock()) as lock:
            yield replace(self, place=HeldPlace(self.path, lock, number_of(self.path), keeping))

    def check_place(self) -> None:
        """Raises FolderLostError where this process holds the folder, and its path leads there no more."""
        if self.place is not None:
            self.place.check()

    def _idle(self) -> str:
        """`, as runs/join-1`: of the runs numbered like this one, the newest that nobody plays; empty without one."""
        stem, _, number = self.path.name.rpartition("-")
        if not number.isdigit():
            return ""
        runs = [RunFolder(store.parent) for store in self.path.parent.glob(f"{stem}-*/events.sqlite")]
        idle = [run for run in runs if run.path != self.path and not run.in_use()]
        return f", as {max(idle, key=_written).path}" if idle else ""

    def in_use(self) -> bool:
        """Whether a node holds the folder right now."""
        try:
            require_plain(self.path / LOCK)
            with (self.path / LOCK).open("r", encoding="ascii") as holder:
                fcntl.flock(holder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def new_run_folder(stem: str, root: Path = Path("runs")) -> RunFolder:
    """The next free `runs/<stem>-<n>`."""
    return RunFolder(root / f"{stem}-{_last_number(stem, root) + 1}")


def run_to_resume(stem: str | None, root: Path = Path("runs")) -> RunFolder:
    """The newest `runs/<stem>-<n>`, without a stem the newest run of all there. Raises RunFolderError without one."""
    if stem is None:
        if found := [run for run in _newest_first(root) if run.path.parent == root]:
            return found[0]
        raise RunFolderError(f"no run under {root}/ to resume: {_others(root)}")
    if not (number := _last_number(stem, root)):
        raise RunFolderError(f"no run {stem}-1, {stem}-2, ... under {root}/ to resume: {_others(root)}")
    return RunFolder(root / f"{stem}-{number}")


def baseline_of(run: RunFolder) -> RunFolder | None:
    """The silo baseline of a run: in its folder or, in a demo, `baseline-<n>` beside `swarm-<n>`. None without one."""
    role, _, number = run.path.name.partition("-")
    names = (f"baseline-{number}", f"twin-{number}") if role == "swarm" else ()
    demo = [RunFolder(run.path.with_name(name)) for name in names]
    return next((baseline for baseline in (run.baseline, *demo) if baseline.config.exists()), None)


def demo_pairs(run: RunFolder) -> list[tuple[RunFolder, RunFolder]]:
    """The nodes of the demo that a run is of, each with its baseline; none for a run that is of no demo."""
    if not run.path.name.startswith("swarm-") or baseline_of(run) is None:
        return []
    nodes = (RunFolder(path) for path in sorted(run.path.parent.glob("swarm-*")))
    return [(node, baseline) for node in nodes if (baseline := baseline_of(node))]


def newest_run_folder(root: Path = Path("runs")) -> RunFolder | None:
    """The run whose events were written last; a silo baseline counts as part of the run that it stands beside."""
    return next(iter(_newest_first(root)), None)


def _newest_first(root: Path) -> list[RunFolder]:
    runs = [RunFolder(store.parent) for store in root.glob("**/events.sqlite")]
    baselines = {run: baseline_of(run) for run in runs}
    own = [run for run in runs if run not in baselines.values()]
    return sorted(own, key=lambda run: max(_written(run), _written(baselines[run])), reverse=True)


def find_run(path: Path | None) -> RunFolder:
    """The run in a folder, by default the newest under runs/. Raises RunFolderError with what to name instead."""
    if path is None:
        if newest := newest_run_folder():
            return newest
        raise RunFolderError("no run under runs/: name its folder, as in runs/join-1")
    folder = RunFolder(path)
    folder.refuse_demo()
    if not folder.config.is_file():
        raise RunFolderError(no_run(path))
    return folder


def no_run(path: Path | str) -> str:
    """What every command says of a path at which no run is, or only what is left of one."""
    config = Path(path) / "config.json"
    if any(os.path.lexists(file) for file in (config, config.with_name("events.sqlite"))):
        near = nearest_run(str(path))
        return f"{config} is no file that can be read: put back the one of the run, or name another run{near}"
    return f"{path} holds no run: name the folder that a run printed at its start{nearest_run(str(path))}"


def nearest_run(name: str, root: Path = Path("runs")) -> str:
    """`; the nearest is ...`, the run that may have been meant by `name`; empty where none is near."""
    runs = {run.path.name: run.path for run in reversed(_newest_first(root)) if run.config.is_file()}
    near = difflib.get_close_matches(Path(name).name, runs, n=1)
    return f"; the nearest is {runs[near[0]]}" if near else ""


def write_atomic(path: Path, text: str, mode: int = 0o666) -> None:
    """Replaces a file so that a reader, or a kill, sees the old text or the new, never a part.

    `mode` is cut by the process's umask, as for any new file.
    """
    with naming(path), draft_file(path, mode) as (draft, descriptor):
        with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        os.fsync(descriptor)
        draft.replace(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of writing `path` name it: a write on a full disk names no file, and nobody knows a draft."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # one of our own words says what it means
            error.filename = str(path)
        raise


def number_of(path: Path) -> tuple[int, int] | None:
    """What the file system knows a file or folder by, whatever it is called; None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _written(run: RunFolder | None) -> float:
    """Unix seconds. A store in use writes to a log beside it, which it folds in now and then."""
    if run is None:
        return 0.0
    log = run.events.with_name(f"{run.events.name}-wal")
    return max((path.stat().st_mtime for path in (run.events, log) if path.exists()), default=0.0)


def _others(root: Path) -> str:
    """Which runs there are to be named, the newest first."""
    runs = _newest_first(root)
    if not runs:
        return "name one elsewhere with --run-dir, or leave out --resume to start one"
    named = ", ".join(str(run.path) for run in runs[:NAMED_RUNS])
    more = f" and {len(runs) - NAMED_RUNS} older ones" if len(runs) > NAMED_RUNS else ""
    return f"name one with --run-dir; there are {named}{more}"


def _last_number(stem: str, root: Path) -> int:
    tails = [path.name.removeprefix(f"{stem}-") for path in root.glob(f"{stem}-*")]
    return max((int(tail) for tail in tails if tail.isdecimal()), default=0)
