"""Invites behind a name, asked of real servers on loopback: what is joined, and what is refused in words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from named_invites import https_pages, https_words, txt_records

from policies.tasks.task import TaskSpec
from swarm.discovery import named_invite
from swarm.discovery.named_invite import MAX_TEXT, NamedInvite, is_named
from swarm.errors import InviteError, TransportDown
from swarm.wire.identity import Identity
from swarm.wire.invite import Invite
from swarm.wire.manifest import Manifest

PEERS = [Identity(bytes([n]) * 32).peer_id for n in range(1, 4)]
OURS = Manifest("open-sums", (TaskSpec("add"), TaskSpec("sort")))
OTHER = Manifest("elsewhere", (TaskSpec("sort"),))
FIRST, SECOND, STRANGE = (
    Invite(manifest, (f"/ip4/127.0.0.1/tcp/{4000 + n}/p2p/{PEERS[n]}",)).encode()
    for n, manifest in enumerate((OURS, OURS, OTHER))
)
PAGE = f"# of the open-sums swarm\n{FIRST}\n\n{STRANGE}\n  {SECOND}\n".encode()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


def test_a_page_leads_to_the_swarm_of_its_digest_with_every_address(
    tmp_path: Path, trusted: pytest.MonkeyPatch
) -> None:
    with https_pages(tmp_path, {"/swarm.txt": PAGE, "/old": "/swarm.txt"}) as (address, certificate):
        trusted.setenv("SSL_CERT_FILE", str(certificate))
        for path in ("/swarm.txt", "/old"):
            invite = NamedInvite.parse(f"{address}{path}#{OURS.swarm_id}").fetch()
            assert invite.manifest == OURS and [a[-8:] for a in invite.bootstrap] == [
                p[-8:] for p in PEERS[:2]
            ]
        assert Invite.decode(invite.encode()) == invite


def test_without_its_digest_or_with_another_nothing_is_joined(
    tmp_path: Path, trusted: pytest.MonkeyPatch
) -> None:
    with https_pages(tmp_path, {"/swarm.txt": FIRST.encode()}) as (address, certificate):
        trusted.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(InviteError, match=f"it offers #{OURS.swarm_id}, swarm 'open-sums' of add, sort"):
            NamedInvite.parse(f"{address}/swarm.txt").fetch()
        with pytest.raises(InviteError, match=r"does not lead to swarm .* \(any more\)"):
            NamedInvite.parse(f"{address}/swarm.txt#{OTHER.swarm_id}").fetch()


def test_pages_that_are_no_list_of_invites_are_refused_in_words(
    tmp_path: Path, trusted: pytest.MonkeyPatch
) -> None:
    pages: dict[str, bytes | str] = {
        "/long": b"x" * (MAX_TEXT + 1),
        "/binary": b"\xff\xfe",
        "/empty": b"hello",
        "/cut": FIRST[:-9].encode(),
        "/plain": "http://127.0.0.1/swarm.txt",
        "/file": "file:///etc/passwd",
        "/round": "/round",
    }
    with https_pages(tmp_path, pages) as (address, certificate):
        trusted.setenv("SSL_CERT_FILE", str(certificate))

        def told(path: str) -> str:
            with pytest.raises((InviteError, TransportDown)) as refused:
                NamedInvite.parse(f"{address}{path}#{OURS.swarm_id}").fetch()
            return str(refused.value)

        assert "more than 65536 bytes" in told("/long") and "no plain text" in told("/binary")
        assert "holds no invite" in told("/empty") and "damaged" in told("/cut")
        assert "leads away from https" in told("/plain")
        assert "answers 302" in told("/file")
        assert "answers 302" in told("/round") and "answers 404" in told("/nowhere")


def test_a_server_that_cannot_be_trusted_or_drips_is_left(
    tmp_path: Path, trusted: pytest.MonkeyPatch
) -> None:
    with https_pages(tmp_path, {"/swarm.txt": PAGE}) as (address, certificate):
        name = NamedInvite.parse(f"{address}/swarm.txt#{OURS.swarm_id}")
        with pytest.raises(TransportDown, match="certificate"):
            name.fetch()
        trusted.setenv("SSL_CERT_FILE", str(certificate))
        trusted.setattr(named_invite, "SECONDS", 5.0)
        clock = iter(range(0, 1000, 60))
        trusted.setattr(named_invite.time, "monotonic", lambda: next(clock))  # a minute passes at every look
        with pytest.raises(TransportDown, match="not read within 5 s"):
            name.fetch()
    with pytest.raises(TransportDown, match="cannot be reached"):
        name.fetch()  # nobody listens there any more


def test_a_server_that_speaks_no_http_is_told_of_with_what_to_do(
    tmp_path: Path, trusted: pytest.MonkeyPatch
) -> None:
    ok = b"HTTP/1.1 200 OK\r\n"
    words = {
        "/greets": [b"HELLO\n"],
        "/long": [b"HTTP/1.1 " + b"2" * 70_000 + b"\r\n\r\n"],
        "/headers": [ok + b"A: b\r\n" * 300 + b"\r\n"],
        "/chunks": [ok + b"Transfer-Encoding: chunked\r\n\r\nffff\r\nmurmur"],
        "/port": [b"HTTP/1.1 302 Found\r\nLocation: https://a:b/\r\nContent-Length: 0\r\n\r\n"],
        "/silent": [b""],
    }
    with https_words(tmp_path, words, pause=0) as (address, certificate):
        trusted.setenv("SSL_CERT_FILE", str(certificate))
        for path in words:
            with pytest.raises(TransportDown, match="see that the name is right, or paste the invite"):
                NamedInvite.parse(f"{address}{path}#{OURS.swarm_id}").fetch()


@pytest.mark.parametrize("beside", ["the headers", "a redirection"])
def test_all_of_a_name_takes_its_seconds_however_its_server_drips(
    tmp_path: Path, trusted: pytest.MonkeyPatch, beside: str
) -> None:
    line = b"HTTP/1.1 200 OK\r\n" if beside == "the headers" else b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"
    with https_words(tmp_path, {"/": [line, *[b"X"] * 200]}, pause=0.05) as (address, certificate):
        trusted.setenv("SSL_CERT_FILE", str(certificate))
        trusted.setattr(named_invite, "SECONDS", 0.5)
        began = time.monotonic()
        with pytest.raises((InviteError, TransportDown)):
            NamedInvite.parse(f"{address}/#{OURS.swarm_id}").fetch()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "name", ["https://x:abc/", "https://a b/", "https:///path", "https://[::1/", "https://a:b@:9/"]
)
def test_what_is_no_address_is_no_name(name: str) -> None:
    with pytest.raises(InviteError, match="an invite's name is https://HOST/PATH or dns:NAME"):
        NamedInvite.parse(f"{name}#{OURS.swarm_id}")


def test_records_of_a_name_lead_to_the_same(trusted: pytest.MonkeyPatch) -> None:
    records = {
        "_murmur.swarm.example": [b"v=other", FIRST.encode(), SECOND.encode()],
        "_murmur.bare.example": [b"x"],
    }
    with txt_records(records) as resolver:
        invite = NamedInvite.parse(f"dns:swarm.example#{OURS.swarm_id}").fetch(resolver)
        assert invite.manifest == OURS and len(invite.bootstrap) == 2
        for name, words in (
            ("nobody.example", "no TXT record _murmur.nobody.example"),
            ("bare.example", "holds no invite"),
        ):
            with pytest.raises(InviteError, match=words):
                NamedInvite.parse(f"dns:{name}#{OURS.swarm_id}").fetch(resolver)
    trusted.setattr(named_invite, "SECONDS", 0.5)
    with pytest.raises(TransportDown, match="cannot be looked up"):
        NamedInvite.parse(f"dns:swarm.example#{OURS.swarm_id}").fetch(resolver)


@pytest.mark.parametrize(
    "name",
    ["dns:../x", "dns:", "dns:a..b", "dns:-a.example", "dns:" + "a." * 130 + "b"],
)
def test_what_is_no_dns_name_is_not_asked(name: str) -> None:
    with pytest.raises(InviteError, match="is no DNS name"):
        NamedInvite.parse(name).fetch()


@pytest.mark.parametrize(
    "text", ["https://x/#zz", "https://x/#" + "a" * 33, "dns:x#" + "A" * 32, "https://" + "a" * 600]
)
def test_words_that_are_no_name_of_an_invite_are_refused(text: str) -> None:
    with pytest.raises(InviteError):
        NamedInvite.parse(text)
    assert not is_named("http://x/") and not is_named(FIRST) and not is_named("/dns4/x/tcp/1")
