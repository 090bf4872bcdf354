"""Arguments that would not be read, or contradict each other, are refused before anything is made or imported."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import murmur

from node.config.reading import load_config
from node.config.roles import manifest_of
from node.storage.run_folder import RunFolder
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

PEER = Identity(bytes(32)).peer_id
ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}"


def invite(name: str = "pond") -> str:
    return Invite(manifest_of(load_config("tiny", [f"swarm.name={name}"])), (ADDRESS,)).encode()


REFUSED = [
    (["silo", "tiny", "--set", "swarm.name=x"], "murmur silo does not read it (a silo has no swarm)"),
    (["silo", "tiny", "--set", "swarm={type='dht'}"], "murmur silo does not read it"),
    (["silo", "tiny", "--set", "silo_baseline=true"], "murmur silo does not read it"),
    (["silo", "tiny", "--set", "sampler.draw=uniform"], "a silo has no peers"),
    (["silo", "tiny", "--rounds", "3", "--set", "rounds=4"], "--rounds and --set rounds are the same"),
    (["run", "tiny", "--set", "seed=1", "--set", "seed=2"], "--set seed is given twice"),
    (["run", "smollm2", "--set", "silo_baseline=true"], "a run without a swarm does not read it"),
    (["join", "INVITE", "--set", "swarm.name=x"], "--set swarm.name: murmur join does not read it"),
    (["join", "INVITE", "--set", "swarm.bootstrap=[]"], "murmur join does not read it (the invite says it)"),
    (["join", "INVITE", "--set", "swarm.type=silo"], "murmur join is for a swarm"),
    (["join", "INVITE", "--set", 'tasks=[{name="sort"}]'], "the invite's swarm has no sort"),
    (["join", ADDRESS, "--set", "swarm.bootstrap=[]"], "the addresses given say it"),
    (["join"], "murmur join takes an invite"),
    (["join", "garbage"], "invite"),
    (["join", "INVITE", "INVITE"], "is neither an invite nor a multiaddr"),
    (["join", "INVITE", "--config", "nowhere"], "no config file or preset"),
    (
        ["join", "INVITE", "--config", "smollm2", "--set", "sampler.externl=3"],
        "did you mean 'sampler.external'?",
    ),
    (["bootstrap", "--set", "rounds=3"], "a bootstrap does not train"),
    (["bootstrap", "--set", "swarm.poll_seconds=3"], "a bootstrap does not train"),
    (["bootstrap", "--set", "swarm.type=silo"], "murmur bootstrap is for a swarm"),
    (["bootstrap", "--beside", "INVITE", "--set", "swarm.name=x"], "the invite says it"),
    (["bootstrap", "--beside", "garbage"], "invite"),
    (["demo", "--set", "swarm.bootstrap=[]"], "murmur demo does not read it"),
    (["demo", "--set", "swarm.type=silo"], "murmur demo does not read it"),
    (["peers", "INVITE", "--run-dir", "x"], "an invite or --run-dir and --last, not both"),
    (["run", "--resume", "--set", "seed=3"], "a resumed run keeps its config"),
    (["silo", "tiny", "--resume"], "a resumed run keeps its config: leave out 'tiny'"),
    (["run", "tiny", "--resume", "--run-dir", "kept"], "leave out 'tiny'"),
    (["join", "--resume", "--config", "tiny"], "leave out 'tiny'"),
    (["join", "garbage", "--resume", "--run-dir", "kept"], "invite"),
    (["join", "OTHER", "--resume", "--run-dir", "kept"], "another swarm than the invite's"),
    (["join", "OTHER", "--resume", "--run-dir", "alone"], "holds a silo's run"),
    (["silo", "--resume"], "no run silo-1, silo-2, ... under runs/ to resume: "),
    (["bootstrap", "--private", "--run-dir", "kept"], "kept already holds a run: choose another --run-dir"),
    (["run", "--resume", "--run-dir", "empty"], "empty holds no run: name the folder"),
    (["run", "--resume", "--run-dir", "kept", "--rounds", "1"], "has played 3: set 4 or more"),
    (["run", "--resume", "--run-dir", "kept", "--rounds", "0"], "--rounds 0: it counts all rounds of a run"),
    (["run", "tiny", "--set", "policy.generation.max_new_tokens=1000000"], "must be at most 131072"),
    (["run", "tiny", "--set", "strategy.rollouts=5000"], "set 1024 at most"),
    (["run", "tiny", "--set", "swarm.type=silo"], "silo tiny\n"),
    (["run", "--resume", "kept"], "kept holds a run, and --run-dir names it; it goes on with: "),
    (["silo", "--resume", "./kept"], "run --resume --run-dir ./kept"),
    (["join", "--resume", "kept"], "run --resume --run-dir kept"),
    (["run", "kept"], "kept holds a run, and --run-dir names it; it goes on with: "),
    (["silo", "kept"], "run --resume --run-dir kept"),
    (["run", "--resume", "runs/tiny-9"], "runs/tiny-9 holds no run: name the folder"),
    (["silo", "tinny"], "no config file or preset 'tinny'; did you mean 'tiny'? presets: "),
    (["silo", "tyni"], "no config file or preset 'tyni'; did you mean 'tiny'? presets: "),
    (["export", "nowhere", "x"], "nowhere holds no run: "),
    (["export", "kept", "kept"], "kept is there and not empty"),
    (
        ["eval", "runs/nope"],
        "holds no run: name the folder that a run printed at its start; and no model is there",
    ),
    (
        ["eval", "kept", "--against", "./nope"],
        "./nope holds no run: name the folder",
    ),
    (["export", "kept", "out", "--round", "9"], "holds no checkpoint of round 9, only of 3"),
    (["export", "drawn", "out"], "trained a policy that makes images"),
    (["eval", "kept", "--round", "9"], "holds no checkpoint of round 9, only of 3"),
    (["eval", "kept", "--tasks", "nonsense"], "no task is called 'nonsense'"),
    (["eval", "kept", "--max-new-tokens", "9"], "leave out --max-new-tokens"),
    (["eval", "drawn"], "trained a policy that makes images"),
    (["replay", "kept", "--round", "9"], "Round 9 was not played: none was so far"),
    (["rollouts", "kept", "--round", "9"], "Round 9 was not played: none was so far"),
    (["run", "dars", "--set", "strategy.max_rollouts=5000"], "set 1024 at most"),
    (["peers", "--run-dir", "nowhere"], "holds no run"),
    (["dashboard", "nowhere"], "holds no run"),
    (["config", "show", "tiny", "--set", "rounds=3", "--set", "rounds=4"], "given twice"),
    (["silo", ""], "the CONFIG of murmur silo is empty (TOML file, or the name of a preset"),
    (["join", ""], "of murmur join is empty (An invite, its name"),
    (["join", "INVITE", "--config", ""], "--config of murmur join is empty (TOML file or preset"),
    (["silo", "tiny", "--run-dir", ""], "--run-dir of murmur silo is empty (Run folder."),
    (["silo", "tiny", "--run-dir="], "--run-dir of murmur silo is empty (Run folder."),
    (
        ["init", "--model", ""],
        "--model of murmur init is empty (Folder, .gguf file or hub name. Default: a tiny",
    ),
    (
        ["init", "--task="],
        "--task of murmur init is empty (What to train on; may be repeated): was it a variable",
    ),
    (["silo", "--json", ""], "the CONFIG of murmur silo is empty"),
    (["peers", ""], "a command that printed nothing? Fill it in, or leave it out; a bootstrap's"),
    (["join", ""], "invite.txt is there once it says `serving`"),
    (["doctor", ""], "the INVITE of murmur doctor is empty"),
    (["tasks", "show", ""], "of murmur tasks show is empty (A task's name, such as sort"),
    (["bench", "compare", ""], "the BASELINE of murmur bench compare is empty"),
    (["identity", "--path", ""], "--path of murmur identity is empty (Key file; made if it is not there)"),
    (["replay", ""], "Fill it in\n"),
    (["tasks", ""], "an empty word follows tasks: leave it out"),
    ([""], "an empty word follows murmur: leave it out"),
    (
        ["silo", "--round", "5"],
        "no option '--round'; did you mean '--rounds'? there are --set, --rounds, --run-dir",
    ),
    (["join", "INVITE", "--dir", "x"], "no option '--dir'; did you mean '--run-dir'? there are --config"),
    (["silo", "-r", "5"], "no option '-r'; there are --set, --rounds"),
    (["--json", "peers"], "--json follows the command that it is for, as in: murmur "),
    (["--jsno", "peers"], "no option '--jsno'; there are --version, --help"),
    (["rnu"], "no command 'rnu'; did you mean 'run'? there are demo, init, run, silo"),
    (["config", "shw"], "no command 'shw'; did you mean 'show'? there are show, schema"),
    (["silo", "--rounds"], "--rounds stands without its value"),
    (["silo", "--rounds", "many"], "--rounds many: give a whole number"),
    (["silo", "tiny", "my", "runs"], "silo does not read 'my runs': it takes [OPTIONS] "),
    (["silo", "--json=3"], "option '--json' does not take a value"),
    (["replay"], "replay lacks its RUN (Folder of the run)"),
    (["dashboard", "--port", "x"], "--port x: give a whole number from 0 to 65535"),
    (["dashboard", "--port", "70000"], "--port 70000: give a whole number from 0 to 65535"),
    (["stats", "--last", "0"], "--last 0: give a whole number of 1 or more"),
    (["bench", "attacks", "--seconds", "3"], "--seconds 3: give a number of 31 or more"),
    (["simulate", "--latency", "x"], "--latency x: give a number"),
    (
        ["demo", "--policy", "digit"],
        "--policy: no value 'digit'; did you mean 'digits'? there are embedded, digits",
    ),
    (["replay", "kept", str(10**23)], "ID: 100000000000000000000000 is more than a store holds"),
    (["silo", "tiny", "--run-dir", "\udcff"], "'\\udcff' is not UTF-8 text"),
    (["init", "caf\udce9"], "is not UTF-8 text, as every name here must be"),
    (["join", "/ip4/1.2.3.4/tcp/4001/p2p/x"], "names no Ed25519 peer"),
    (["join", f"/ip4/999.2.3.4/tcp/4001/p2p/{PEER}"], "has no valid ip4 host and port"),
    (["join", "runs/bootstrap/invite.txt"], 'give what is in it, "$(cat runs/bootstrap/invite.txt)"'),
    (["bootstrap", "--set", 'swarm.listen=["4001"]'], "swarm.listen: '4001' is not of the form"),
    (
        ["bootstrap", "--set", 'swarm.announce=["/ip4/x/tcp/1"]'],
        "swarm.announce: '/ip4/x/tcp/1' has no valid",
    ),
    (["demo", "--picture", "nowhere/x.svg"], "--picture nowhere/x.svg: no file can be written there"),
    (["demo", "--picture", "."], "--picture .: no file can be written there"),
    (["config", "show", "."], ". is no config file: name a TOML file, or a preset"),
    (["config", "show", "tiny", "--set", ".=3"], "a part of the key is empty"),
    (["silo", "tiny", "--set", 'tasks=[{name="data:x",path="\\u0000"}]'], "path: has a zero character"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(a)[:60] for a, _ in REFUSED])
def test_it_is_refused_in_one_line_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    RunFolder(tmp_path / "kept").create(load_config("tiny", ["swarm.name=pond"]))
    saved = tmp_path / "kept" / "checkpoints" / "round-00000003"
    saved.mkdir()
    (saved / "state.json").write_text("{}")
    RunFolder(tmp_path / "alone").create(load_config("brorl"))
    RunFolder(tmp_path / "drawn").create(load_config("digits"))
    before = sorted(tmp_path.rglob("*"))
    given = {"INVITE": invite(), "OTHER": invite("lake")}
    told = murmur(monkeypatch, capsys, *[given.get(word, word) for word in arguments])
    assert told.code == 2, told
    assert message in told.err and told.err.startswith("murmur: ") and told.err.count("\n") == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


def test_a_role_is_laid_over_the_config_before_it_is_checked() -> None:
    from node.arguments import join_config, silo_config

    joined, _ = join_config([invite()], "brorl", ["sampler.external=3"], None)
    assert joined.sampler.external == 3  # a preset without a swarm, which alone would be refused
    asked, _ = join_config([invite()], "brorl", ["sampler.external=0"], None)
    assert asked.sampler.external == 0  # as asked: it gives and takes nothing
    half, _ = join_config([invite()], "brorl", [], None)
    assert half.sampler.external > 0
    alone = silo_config("brorl", ["sampler.external=3"], 7)
    assert (alone.sampler.external, alone.rounds, alone.swarm.type) == (0, 7, "silo")


@pytest.mark.parametrize("words", [[str(10**23)], ["--round", str(10**23)]])
def test_a_number_that_no_store_holds_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = murmur(monkeypatch, capsys, "replay", "runs/x", *words)
    assert answer.code == 2 and "more than a store holds" in answer.err
