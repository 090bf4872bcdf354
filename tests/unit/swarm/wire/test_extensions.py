"""Extensions: room for later releases in every message, and the rule for numbers that this one does not know."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest
from announcing import announce

from swarm.errors import DecodeError, OtherVersion
from swarm.exchange.framing import decode_request, encode_request
from swarm.exchange.peer_stats import NodeStats
from swarm.wire import extensions, fields
from swarm.wire.announcement import Announcement
from swarm.wire.identity import Identity

ALICE = Identity(b"a" * 32)
NEWS = ((1, b"pieces"), (127, bytes(200)))


def test_an_announcement_keeps_and_signs_what_it_does_not_know() -> None:
    sent = announce(ALICE, extensions=NEWS)
    arrived = Announcement.decode(sent.encode())
    assert arrived == sent and arrived.verify_signature()
    assert not replace(arrived, extensions=NEWS[:1]).verify_signature()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "extensions"),
        ([[1]], "extension"),
        ([[1, b"", b""]], "extension"),
        ([[256, b""]], "extension number"),
        ([[True, b""]], "extension number"),
        ([[2, b""], [1, b""]], "out of order"),
        ([[1, b""], [1, b""]], "out of order"),
        ([[1, "text"]], "another type"),
        ([[1, bytes(extensions.MAX_EXTENSION + 1)]], "of more than 512 bytes"),
        ([[n, b""] for n in range(extensions.MAX_EXTENSIONS + 1)], "extensions"),
        (
            [[1, b""], [extensions.CRITICAL, b""]],
            "needs extension 128, which this release does not know: upgrade",
        ),
    ],
)
def test_what_breaks_the_rule_is_refused(value: object, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        extensions.decode(value, "message")


def test_later_fields_of_requests_and_figures_are_ignored() -> None:
    packed = msgpack.packb([2, "swarm", b"token", extensions.encode(NEWS)])
    assert decode_request(packed, 2, "request")[0] == ["swarm", b"token"]
    stats = NodeStats("0.2.0", 1.0, 1, 1, "tiny", 0, ())
    values = msgpack.unpackb(stats.encode())
    assert NodeStats.decode(msgpack.packb([*values[:-1], extensions.encode(NEWS)])) == stats


@pytest.mark.parametrize("version", [1, 3, 9999])
def test_another_version_is_named_with_who_has_to_upgrade(version: int) -> None:
    older = "the other node" if version < 2 else "this node"
    words = f"the other node speaks protocol {version}, this node 2: upgrade {older}"
    with pytest.raises(OtherVersion, match=words):
        fields.check_version(version, "the other node")
    # Whatever the rest of such a message looks like.
    for rest in ([], ["swarm"], [None] * 20):
        with pytest.raises(OtherVersion):
            decode_request(msgpack.packb([version, *rest]), 3, "request")
        with pytest.raises(OtherVersion):
            Announcement.decode(bytes(64) + msgpack.packb([version, *rest]))
        with pytest.raises(OtherVersion):
            NodeStats.decode(msgpack.packb([version, *rest]))


@pytest.mark.parametrize("version", [0, -1, 2.0, True, "2", None, 10_000, 2**63])
def test_what_is_no_version_is_refused(version: object) -> None:
    with pytest.raises(DecodeError, match="no protocol version"):
        fields.check_version(version, "the other node")
    fields.check_version(2, "the other node")
    assert msgpack.unpackb(encode_request("swarm")) == [2, "swarm", []]
