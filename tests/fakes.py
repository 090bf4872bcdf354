"""Small stand-ins for the seams, shared by tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from policies.rollout import Finish, Group, Problem, Rollout, Segment
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.wire import images
from swarm.wire.announcement import Announcement, Summary, TaskSummary, summarise
from swarm.wire.body import Body, PackedGroup, SharedGroup, SharedRollout, share
from swarm.wire.body_codec import encode_body

SWARM = "swarm-of-tests"
NODE, ALICE, BOB, MALLORY = "12D3Node", "12D3Alice", "12D3Bob", "12D3Mallory"
END = 0  # the end-of-sequence id of `encode`
TOKEN_CAP = 600
START = 1_000_000.0


class Addition:
    """`seed + 1`; a reward of 1 for the right number as last word, 0.25 for another number, none for `slow`, else 0."""

    name = "addition@1"

    def problem(self, seed: int) -> Problem:
        return Problem(task=self.name, seed=seed, prompt=f"{seed} + 1 =", answer=str(seed + 1))

    def score(self, problem: Problem, completion: str) -> float | None:
        last = (completion.split() or [""])[-1]
        if last == "slow":  # what a verifier comes to no end with
            return None
        if last == problem.answer:
            return 1.0
        return 0.25 if last.isascii() and last.isdigit() else 0.0


class ManualClock:
    """A clock that moves when told to."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def encode(text: str, finish: Finish) -> tuple[int, ...]:
    """One token a character, as `Policy.encode` promises; text with `<control>` cannot be encoded."""
    if not text or len(text) > TOKEN_CAP or "<control>" in text:
        raise ValueError("cannot be encoded")
    ids = tuple(ord(character) for character in text)
    return (*ids, END) if finish is Finish.STOP else ids


def group(seed: int, texts: Sequence[str] | None = None, origin: str | None = None) -> Group:
    """A scored group of `Addition`; by default one right and one wrong completion, unique to the seed."""
    task = Addition()
    problem = task.problem(seed)
    rollouts = tuple(
        Rollout(text, (Segment(0, encode(text, Finish.STOP)),), Finish.STOP, task.score(problem, text))
        for text in texts or (f"it is {seed + 1}", f"it is {seed + 2}")
    )
    return Group(problem, rollouts, origin)


def body(groups: Iterable[Group], sender: str, round: int = 1) -> Body:
    """What `sender` publishes of its own groups."""
    packed = [packed_group(g) for g in groups]
    summary = summarise([p.group for p in packed], round, policy_version=3, fingerprint="tiny")
    return share(packed, SWARM, sender, summary)


def packed_group(group: Group) -> PackedGroup:
    """The whole group, whether a peer would take it or not."""
    return PackedGroup(group, tuple(images.encode(r.image) if r.image else b"" for r in group.rollouts))


def shared_group(seed: int, *rollouts: tuple[str, float], task: str = Addition.name) -> SharedGroup:
    """A group as it travels, of (text, claimed reward)."""
    return SharedGroup(task, seed, tuple(SharedRollout(text, Finish.STOP, claim) for text, claim in rollouts))


def body_of(groups: Sequence[SharedGroup], sender: str, **changes: object) -> Body:
    """A body with whatever groups, for those who do not publish honestly."""
    fields = {"swarm": SWARM, "sender": sender, "fingerprint": "tiny", "policy_version": 3, "round": 1}
    return Body(**{**fields, "groups": tuple(groups), **changes})


def announce(content: Body, wire: bytes, created: float = START, **changes: object) -> Announcement:
    """The unsigned announcement of `content` by its sender; `changes` replace its fields."""
    summary = Summary(
        content.round,
        content.policy_version,
        content.fingerprint,
        len(content.groups),
        content.rollouts,
        tasks=(TaskSummary(Addition.name, content.rollouts, 0.5),),
    )
    fields = {
        "swarm": content.swarm,
        "epoch": 0,
        "depth": 0,
        "shard": 0,
        "peer": content.sender,
        "created": created,
        "expires": created + 1800,
        "digest": hashlib.sha256(wire).digest(),
        "size": len(wire),
        "summary": summary,
        "addresses": (),
    }
    return Announcement(**{**fields, **changes})


def offer(content: Body, created: float = START, **changes: object) -> tuple[Announcement, bytes]:
    """A body as `RolloutVerifier.verify` takes it."""
    wire = encode_body(content)
    return announce(content, wire, created, **changes), wire


def verifier(clock: ManualClock | None = None, **settings: float) -> RolloutVerifier:
    """The verifier of `NODE`, which knows `Addition` alone."""
    tasks = {Addition.name: Addition()}
    return RolloutVerifier(SWARM, NODE, tasks, encode, clock or ManualClock(), VerifierLimits(**settings))
