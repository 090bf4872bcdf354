"""Errors of the swarm, named by the boundary they come from.

SwarmError
├── IdentityError      the key file cannot be read, written or trusted
├── InviteError        an invite or manifest that does not parse; says which part
├── ExtraMissing       an optional package that this needs is not installed; says how to get it
├── DecodeError        bytes from outside that are not what they claim to be (becomes a verdict, never a crash)
│   └── OtherVersion   of another version of the protocol; says who has to upgrade
└── TransportError
    ├── TransportDown  the daemon or its process is not there; the node goes on alone meanwhile
    └── FetchFailed    one body could not be had; other candidates may do

A bad record is not an exception past the inbox: `swarm.admission.rollout_verifier` turns it into a `Verdict`.
"""

from __future__ import annotations


class SwarmError(Exception):
    """Base of all errors that `swarm` raises on purpose."""


class IdentityError(SwarmError):
    """The node's key file is missing, unreadable, malformed or open to others."""


class InviteError(SwarmError):
    """An invite, manifest or bootstrap address that cannot be used."""


class ExtraMissing(SwarmError):
    """An optional package is not installed."""


class DecodeError(SwarmError):
    """Bytes that break a bound or do not have the declared form."""


class OtherVersion(DecodeError):
    """A message of another version of the protocol."""


class TransportError(SwarmError):
    """The network part failed; training goes on without it."""


class TransportDown(TransportError):
    """The transport's process or daemon is not answering."""


class FetchFailed(TransportError):
    """One body could not be fetched or did not match its digest."""
