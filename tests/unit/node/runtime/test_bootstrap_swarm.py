"""Which swarm a bootstrap serves: a run folder keeps the one that it served, and is refused for any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.arguments import bootstrap_asked
from node.config.roles import manifest_of
from node.config.schema import ConfigError
from node.config.sections.swarm import DhtConfig
from node.runtime.serve_bootstrap import Bootstrap, command_again, lost_key, other_ways, swarm_to_serve
from node.runtime.transports import last_invite
from node.storage.run_folder import RunFolder, RunFolderError
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite

WAY = f"/ip4/127.0.0.1/tcp/4001/p2p/{Identity.ephemeral().peer_id}"
OTHER = """[[tasks]]\nname = "sort"\n[policy]\ntype = "embedded"\n"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(OTHER)
    made = RunFolder(Path("runs/bootstrap"))
    made.logs.mkdir(parents=True)
    return made


def asked(
    config: str | None = None, *overrides: str, private: bool = False, beside: str | None = None
) -> Bootstrap:
    return bootstrap_asked(config, overrides, Path("runs/bootstrap"), beside, private=private)


def serve(folder: RunFolder, wanted: Bootstrap) -> Invite:
    """What a bootstrap does of a start, without a daemon."""
    config = swarm_to_serve(wanted, folder, last_invite(folder))
    invite = Invite(manifest_of(config), (WAY,), folder.read_secret())
    folder.invite.write_text(invite.encode())
    return invite


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("config", [None, "tiny", "mine.toml"])
def test_started_again_by_the_command_that_it_prints_it_serves_the_same_swarm(
    folder: RunFolder, config: str | None, private: bool
) -> None:
    first = serve(folder, asked(config, private=private))
    assert bool(first.secret) == private
    assert serve(folder, asked(config, private=private)) == first
    assert serve(folder, asked(config)) == first
    assert serve(folder, asked()) == first  # by the folder alone
    assert serve(folder, asked(None, 'swarm.listen=["/ip4/127.0.0.1/tcp/0"]')) == first


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (asked, lambda: asked("mine.toml", private=True)),
        (asked, lambda: asked("mine.toml")),
        (asked, lambda: asked(private=True)),
        (asked, lambda: asked(None, "swarm.name=pond")),
        (lambda: asked(private=True), lambda: asked("mine.toml")),
    ],
)
def test_a_folder_of_another_swarm_is_refused_and_left_as_it_is(
    folder: RunFolder, first: object, then: object
) -> None:
    serve(folder, first())  # type: ignore[operator]
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(RunFolderError, match=r"another swarm, .* of maximum, shift, binary\. Choose"):
        serve(folder, then())  # type: ignore[operator]
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_one_more_way_into_a_swarm_stays_one_and_leads_into_no_other(folder: RunFolder) -> None:
    theirs = serve(folder, asked("mine.toml", private=True))
    second = RunFolder(Path("runs/second"))
    second.logs.mkdir(parents=True)
    beside = asked(beside=theirs.encode())
    assert serve(second, beside) == serve(second, asked()) == theirs
    config = swarm_to_serve(asked(), second, last_invite(second))
    assert isinstance(config.swarm, DhtConfig) and config.swarm.bootstrap == ()
    folder.invite.unlink()
    folder.secret.unlink()
    with pytest.raises(RunFolderError, match="holds another swarm"):
        serve(second, asked(beside=serve(folder, asked()).encode()))


def test_an_invite_of_before_keeps_the_ways_through_other_bootstraps(folder: RunFolder) -> None:
    own, other = (Identity.load_or_create(Path(name)).peer_id for name in ("own.key", "other.key"))
    ways = tuple(f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}" for port, peer in ((1, own), (2, own), (3, other)))
    last = Invite(serve(folder, asked()).manifest, ways)
    assert other_ways(last) == [ways[2]] and other_ways(None) == []


def test_a_swarm_of_code_is_served_again_by_its_config_alone(folder: RunFolder) -> None:
    Path("own.py").write_text("class Mine:\n    def verify(self, problem, answer):\n        return 0.0\n")
    invite = serve(folder, asked())
    code = invite.manifest.__class__(
        "pond", (type(invite.manifest.tasks[0])("code:mine", {"source": "0" * 64}),)
    )
    folder.invite.write_text(Invite(code, (WAY,)).encode())
    with pytest.raises(ConfigError, match="needs the config that founded it, by --config"):
        serve(folder, asked())


def test_it_is_started_again_by_what_it_was_started_with() -> None:
    assert asked().again == ()
    assert asked("tiny", "swarm.lan=true").again == ("--config", "tiny", "--set", "swarm.lan=true")


@pytest.mark.parametrize("config", [None, "tiny"])
def test_the_command_that_starts_a_private_one_again_says_that_it_is(
    folder: RunFolder, config: str | None
) -> None:
    first = serve(folder, asked(config, private=True))
    for wanted in (asked(config, private=True), asked(config), asked()):  # all of which serve the private one
        again = command_again(wanted, folder, private=True)
        assert again.endswith("--private --run-dir runs/bootstrap")
        assert serve(folder, asked("tiny" if "tiny" in again else None, private=True)) == first
    assert "--private" not in command_again(asked(config), folder, private=False)
    beside = asked("tiny", beside=first.encode())  # a swarm that exists is private or not already
    assert "--private" not in command_again(beside, folder, private=True)
    with pytest.raises(RunFolderError, match=r"or serve that one: .*murmur bootstrap --private --run-dir"):
        serve(folder, asked("mine.toml"))


def test_a_key_that_is_gone_from_a_folder_that_served_is_told(folder: RunFolder) -> None:
    config = asked().config
    assert lost_key(config, folder, None) == ""
    last = serve(folder, asked())
    assert "identity.key was gone" in lost_key(config, folder, last)
    Identity.load_or_create(folder.identity(config))
    assert lost_key(config, folder, last) == ""
