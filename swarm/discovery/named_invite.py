"""Invites behind a name that their founder keeps: `https://HOST/PATH#ID` and `dns:NAME#ID`.

What lies there is text of at most MAX_TEXT, with an invite a line (of `dns:NAME`, a TXT record of `_murmur.NAME` each);
other lines are left. All of the swarm whose id stands behind the `#` count, with the bootstrap addresses of all. The id
is the digest of the manifest, so whoever holds the name, its server or the line can keep a node out of the swarm, and
lead it into no other. Without an id nothing is joined: the error says which swarm is there.
"""

from __future__ import annotations

import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from threading import Thread
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

from policies.error_words import brief
from swarm.errors import InviteError, TransportDown
from swarm.wire.invite import MAX_BOOTSTRAP, Invite

if TYPE_CHECKING:
    import dns.resolver

MAX_TEXT: Final = 64 * 2**10  # bytes
MAX_LINES: Final = 256
MAX_INVITES: Final = 8
MAX_NAME: Final = 512  # characters of the whole name
MAX_REDIRECTS: Final = 3
SECONDS: Final = 20.0  # for all of it
CHUNK: Final = 4096  # bytes
RECORD: Final = "_murmur"  # in front of a DNS name
SCHEMES: Final = ("https://", "dns:")
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NOT_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f]")
_DNS_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*\.?", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedInvite:
    """A name, and the swarm that it must lead to."""

    name: str  # https://... or dns:..., without its fragment
    swarm_id: str  # 32 hex digits; empty where none was given

    @classmethod
    def parse(cls, text: str) -> NamedInvite:
        """Raises InviteError."""
        name, _, swarm_id = text.strip().partition("#")
        if len(text) > MAX_NAME or not is_named(name) or not _is_address(name):
            raise InviteError(
                f"an invite's name is https://HOST/PATH or dns:NAME, of at most {MAX_NAME} characters"
            )
        if swarm_id and not _ID.fullmatch(swarm_id):
            raise InviteError(
                f"{swarm_id[:40]!r} is no swarm id: behind the # of an invite's name stand 32 hex digits"
            )
        return cls(name, swarm_id)

    def fetch(self, resolver: dns.resolver.Resolver | None = None) -> Invite:
        """The invite that lies there. `resolver` instead of the system's, for `dns:`.

        Raises TransportDown where the name cannot be asked, InviteError for what it answers.
        """
        if self.name.startswith("dns:"):
            lines = _records(self.name.removeprefix("dns:"), resolver)
        else:
            lines = _lines(_page(self.name))
        return self._chosen([Invite.decode(line) for line in _invites(self.name, lines)])

    def _chosen(self, found: Sequence[Invite]) -> Invite:
        """One invite of the swarm's, with everybody's addresses."""
        offered = {invite.manifest.swarm_id: invite for invite in found}
        if not self.swarm_id:
            raise InviteError(f"{self.name} has to be followed by a swarm id; it offers {_told(offered)}")
        if self.swarm_id not in offered:
            raise InviteError(
                f"{self.name} does not lead to swarm {self.swarm_id} (any more): it offers {_told(offered)}. Ask who "
                "told you of it before you join another"
            )
        same = [invite for invite in found if invite.manifest.swarm_id == self.swarm_id]
        addresses = dict.fromkeys(address for invite in same for address in invite.bootstrap)
        return Invite(same[0].manifest, tuple(addresses)[:MAX_BOOTSTRAP], same[0].secret)


def is_named(text: str) -> bool:
    """Whether a word is the name of an invite, and no invite or multiaddr itself."""
    return text.strip().startswith(SCHEMES)


def _is_address(name: str) -> bool:
    """False for a name over https without a host, or with a port or letters that no address has."""
    if name.startswith("dns:"):
        return True  # its own look-up says what is wrong with it
    try:
        parts = urlsplit(name)
        return bool(parts.hostname) and (parts.port or 0) >= 0 and not _NOT_IN_ADDRESS.search(name)
    except ValueError:
        return False


def _told(offered: dict[str, Invite]) -> str:
    return "; ".join(
        f"#{swarm_id}, swarm {invite.manifest.name!r} of {', '.join(task.name for task in invite.manifest.tasks)}"
        for swarm_id, invite in offered.items()
    )


def _invites(name: str, lines: Sequence[str]) -> list[str]:
    """The lines that look like invites."""
    found = [line for line in map(str.strip, lines[:MAX_LINES]) if line.startswith("murmur")]
    if not found:
        raise InviteError(
            f"{name} holds no invite: a line of it has to be one, as murmur bootstrap prints it"
        )
    return found[:MAX_INVITES]


def _lines(page: bytes) -> list[str]:
    try:
        return page.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise InviteError("what lies there is no plain text: an invite is one line of ASCII") from None


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follows a few redirections, and none to anything but https."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError("it leads away from https")
        fp.close()  # urllib would read all that stands beside the redirection, however long
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _page(address: str) -> bytes:
    """At most MAX_TEXT bytes, within SECONDS. Raises TransportDown, InviteError."""
    answered: list[bytes | InviteError | TransportDown] = []

    def ask() -> None:
        try:
            answered.append(_asked(address))
        except (InviteError, TransportDown) as error:
            answered.append(error)

    # A thread, as looking up a host has no time-out, and one for a socket begins anew with every byte that drips.
    asking = Thread(target=ask, name="invite", daemon=True)
    asking.start()
    asking.join(SECONDS)
    match answered:
        case [bytes(page)]:
            return page
        case [Exception() as error]:
            raise error
    raise _unreachable(address, f"not read within {SECONDS:.0f} s")


def _asked(address: str) -> bytes:
    """Raises TransportDown, InviteError."""
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(secure, _HttpsAlone())
    ended = time.monotonic() + SECONDS
    try:
        with opener.open(
            urllib.request.Request(address, headers={"User-Agent": "murmur"}), timeout=SECONDS
        ) as answer:
            return _bounded(address, answer.read1, ended)
    except urllib.error.HTTPError as error:
        error.close()
        raise InviteError(f"{address} answers {error.code}: see that the name is whole") from None
    except HTTPException as error:  # the server's words are no HTTP, end too early or lead to no address
        raise _unreachable(
            address, f"its server answers no HTTP: {type(error).__name__}, {brief(error)}"
        ) from None
    except (OSError, ValueError) as error:  # URLError, time-outs, TLS and names that are none
        raise _unreachable(address, brief(getattr(error, "reason", None) or error)) from None


def _unreachable(address: str, reason: str) -> TransportDown:
    return TransportDown(
        f"{address} cannot be reached ({reason}): see that the name is right, or paste the invite"
    )


def _bounded(address: str, read: Callable[[int], bytes], ended: float) -> bytes:
    """Raises InviteError for more than MAX_TEXT, TimeoutError for a server that drips."""
    page = b""
    while chunk := read(CHUNK):
        page += chunk
        if len(page) > MAX_TEXT:
            raise InviteError(f"{address} holds more than {MAX_TEXT} bytes: that is no list of invites")
        if time.monotonic() > ended:
            raise TimeoutError(f"not read within {SECONDS:.0f} s")
    return page


def _records(name: str, resolver: dns.resolver.Resolver | None) -> list[str]:
    """Raises TransportDown, InviteError."""
    # Every verb loads this module, and dnspython brings QUIC and trio: half a second for a name that few look up.
    import dns.exception
    import dns.resolver

    if not _DNS_NAME.fullmatch(name) or len(name) > 240:
        raise InviteError(f"{name[:80]!r} is no DNS name")
    record = f"{RECORD}.{name}"
    try:
        asked = resolver or dns.resolver.Resolver()
        answer = asked.resolve(record, "TXT", search=False, lifetime=SECONDS)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        raise InviteError(f"there is no TXT record {record}: see that the name is right") from None
    except (dns.exception.DNSException, OSError) as error:
        raise TransportDown(
            f"{record} cannot be looked up ({brief(error)}): try again, or paste the invite"
        ) from None
    texts = (b"".join(each.strings) for each in answer)
    return [text.decode("ascii", "replace") for text in texts if len(text) <= MAX_TEXT]
