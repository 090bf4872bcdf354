"""Which requests were meant for this machine: a name that only begins like loopback, or points there, is another's."""

from __future__ import annotations

import pytest

from node.report.loopback import names_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:9464", "127.1.2.3:1", "[::1]", "[::1]:9464"]
)
def test_loopback_is_named_by_address_or_by_its_name(host: str) -> None:
    assert names_loopback([host])


@pytest.mark.parametrize(
    "host",
    ["", ":", "[", "[]", "[::1", "evil.example", "127.evil.example:9464", "127.0.0.1.evil.example", "127.1",
     "localhost.evil.example", "0.0.0.0", "10.0.0.1", "[2001:db8::1]:80", "[localhost]", "::1",
     "localhost:80@evil.example", "[::1]evil.example", "localhost:evil.example", "127.0.0.1%evil.example"],
)  # fmt: skip
def test_whatever_else_is_named_is_not(host: str) -> None:
    assert not names_loopback([host])


def test_one_host_is_named() -> None:
    assert not names_loopback([]) and not names_loopback(["localhost", "localhost"])
