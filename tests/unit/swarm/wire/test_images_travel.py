"""Groups of images from one node to another: what leaves, what arrives, and who can use it."""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from fakes import (
    ALICE,
    BOB,
    MALLORY,
    NODE,
    Addition,
    ManualClock,
    announce,
    body,
    body_of,
    encode,
    group,
    offer,
    shared_group,
)
from imagery import Brightness, grey, image_group, photo

from policies.rollout import Finish, Group, Image
from policies.strategies.open_groups import OpenGroup, OpenGroups
from swarm.admission.refusal import Reason
from swarm.admission.rollout_verifier import RolloutVerifier, VerifierLimits
from swarm.admission.verdict import Outcome
from swarm.gossip.service import Gossip
from swarm.limits import MAX_BODY, MAX_GROUP_IMAGES, MAX_IMAGE_SIDE
from swarm.sampling.external_pool import ExternalPool, PoolSettings
from swarm.transport.in_memory import MemoryHub
from swarm.wire import images
from swarm.wire.announcement import TaskSummary, summarise
from swarm.wire.body import SharedGroup, SharedRollout, shareable
from swarm.wire.body_codec import decode_body, encode_body

CAROL = "12D3Carol"
LEVELS = [90, 10, 200, 30, 160, 120]
NOISE = [photo(40, 40, seed) for seed in range(2)]


def image_verifier() -> RolloutVerifier:
    """The verifier of a node that makes images, in a swarm that adds too."""
    settings = VerifierLimits(unsupported_tasks=frozenset({"addition"}))
    return RolloutVerifier(
        "swarm-of-tests", NODE, {Brightness.name: Brightness()}, encode, ManualClock(), settings
    )


def text_verifier() -> RolloutVerifier:
    settings = VerifierLimits(unsupported_tasks=frozenset({"brightness"}))
    return RolloutVerifier(
        "swarm-of-tests", NODE, {Addition.name: Addition()}, encode, ManualClock(), settings
    )


@pytest.mark.parametrize("image", [grey(7), grey(200, 64), photo(64, 64), photo(5, 700)])
def test_small_images_travel_without_loss(image: Image) -> None:
    assert images.decode(images.encode(image)) == image


def test_large_images_travel_nearly_as_they_are() -> None:
    image = photo(300, 200)
    arrived = images.decode(images.encode(image))
    assert (arrived.width, arrived.height, arrived.channels) == (300, 200, 3)
    off = [abs(a - b) for a, b in zip(arrived.pixels, image.pixels, strict=True)]
    assert sum(off) / len(off) < 6
    assert len(images.encode(image)) < len(image.pixels) / 8
    assert images.decode(images.encode(Image(300, 200, 1, image.pixels[::3]))).channels == 3


def travelling(groups: Iterable[Group]) -> list[Group]:
    return [packed.group for packed in shareable(groups)]


def stored(png: bytes) -> bytes:
    """The PNG once more, without compression."""
    chunks = [bytes(png[:33]), zlib.compress(zlib.decompress(png[41:-16]), 0), bytes(png[-12:])]
    kind = b"IDAT" + chunks[1]
    return (
        chunks[0] + struct.pack(">I", len(chunks[1])) + kind + struct.pack(">I", zlib.crc32(kind)) + chunks[2]
    )


def test_the_best_and_the_worst_of_a_group_travel() -> None:
    [packed] = shareable([image_group(1, [grey(level) for level in LEVELS])])
    sent = packed.group
    assert [images.decode(data) for data in packed.images] == [r.image for r in sent.rollouts]
    assert [r.image for r in sent.rollouts] == [grey(level) for level in (10, 200, 30, 160)]
    assert len(sent.rollouts) == MAX_GROUP_IMAGES


def test_images_that_nobody_would_take_stay_at_home() -> None:
    assert (
        shareable([image_group(1, [grey(1), Image(MAX_IMAGE_SIDE + 1, 1, 1, bytes(MAX_IMAGE_SIDE + 1))])])
        == []
    )


def test_large_groups_of_images_fill_a_body_and_no_more() -> None:
    photos = [photo(256, 256, seed) for seed in range(4)]
    many = travelling(image_group(seed, photos) for seed in range(200))
    wire = encode_body(body(many, ALICE))
    assert 10 < len(many) < 200
    assert len(wire) <= MAX_BODY


def test_a_group_of_images_arrives_with_rewards_of_the_receivers_own() -> None:
    content = body(travelling([image_group(5, [grey(level) for level in LEVELS])]), ALICE)
    [(verdict, arrived)] = image_verifier().verify(*offer(content))
    assert (verdict.outcome, verdict.claim_mismatches, verdict.rollouts) == (Outcome.ACCEPTED, 0, 4)
    assert arrived is not None
    assert (arrived.origin, arrived.problem) == (ALICE, Brightness().problem(5))
    assert [r.image for r in arrived.rollouts] == [grey(level) for level in (10, 200, 30, 160)]
    assert list(arrived.rewards) == Brightness().score_images(
        arrived.problem, [r.image for r in arrived.rollouts]
    )


def test_what_the_own_policy_cannot_take_is_unusable_and_nobodys_fault() -> None:
    mixed = body([group(3), *travelling([image_group(5, [grey(10), grey(20)])])], ALICE)
    for keeper, usable in ((image_verifier(), Brightness.name), (text_verifier(), Addition.name)):
        outcomes = {
            verdict.task: (verdict.outcome, found is None) for verdict, found in keeper.verify(*offer(mixed))
        }
        assert outcomes.pop(usable) == (Outcome.ACCEPTED, False)
        assert list(outcomes.values()) == [(Outcome.UNUSABLE, True)]


def test_bodies_of_unusable_tasks_alone_are_not_worth_fetching() -> None:
    announcement, _ = offer(body([group(3)], ALICE))
    assert text_verifier().usable(announcement)
    assert not image_verifier().usable(announcement)


@pytest.mark.parametrize(
    ("rollouts", "reason"),
    [
        ((SharedRollout("words", Finish.STOP, 1.0),), Reason.MEDIUM),
        ((SharedRollout("words", Finish.STOP, 1.0, images.encode(grey(3))),), Reason.MEDIUM),
        ((SharedRollout("", Finish.STOP, 1.0, b"no image"),), Reason.IMAGE),
        ((SharedRollout("", Finish.STOP, 1.0, images.encode(grey(3))[:-4]),), Reason.IMAGE),
    ],
)
def test_what_is_no_image_is_refused(rollouts: tuple[SharedRollout, ...], reason: Reason) -> None:
    content = body_of([SharedGroup(Brightness.name, 5, rollouts * 2)], ALICE)
    [(verdict, found)] = image_verifier().verify(*offer(content))
    assert (verdict.outcome, verdict.reason, found) == (Outcome.REFUSED, reason, None)


def test_an_image_for_a_text_task_is_refused() -> None:
    rollouts = (SharedRollout("it is 8", Finish.STOP, 1.0, images.encode(grey(3))),) * 2
    [(verdict, _)] = text_verifier().verify(*offer(body_of([SharedGroup(Addition.name, 7, rollouts)], ALICE)))
    assert verdict.reason is Reason.MEDIUM


def test_a_copy_of_anothers_images_is_known_however_it_is_packed() -> None:
    keeper = image_verifier()
    shown = [grey(10), grey(200), *NOISE]
    original = body([image_group(5, shown)], ALICE)
    [(first, _)] = keeper.verify(*offer(original))
    [theirs] = original.groups
    repacked = replace(theirs, rollouts=tuple(replace(r, image=stored(r.image)) for r in theirs.rollouts))
    [(second, _)] = keeper.verify(*offer(body_of([repacked], BOB)))
    assert (first.outcome, second.outcome) == (Outcome.ACCEPTED, Outcome.KNOWN)


@pytest.mark.parametrize("side", [8, 96])
def test_own_images_that_come_back_are_a_copy(side: int) -> None:
    keeper = image_verifier()
    packed = shareable([image_group(5, [photo(side, side, 1), grey(200, side)])])
    keeper.remember_own(packed)
    [(verdict, _)] = keeper.verify(*offer(body_of([p.shared() for p in packed], BOB)))
    assert verdict.outcome is Outcome.KNOWN


def test_own_images_are_encoded_once_and_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    for name in ("encode", "decode"):
        whole = getattr(images, name)
        monkeypatch.setattr(
            images, name, lambda data, name=name, whole=whole: calls.update([name]) or whole(data)
        )
    groups = [image_group(seed, [photo(96, 96, 4 * seed + i) for i in range(4)]) for seed in range(5)]
    listener = Gossip(
        MemoryHub("swarm-of-tests", ManualClock()).join(NODE), image_verifier(), ExternalPool(), ManualClock(),
        np.random.default_rng(0),
    )  # fmt: skip
    listener.publish(groups, 1, 1, "tiny")
    listener.step()
    assert listener.drain().offered == 5
    assert calls == {"encode": 20}


def test_a_node_without_pillow_decodes_bodies_with_images(monkeypatch: pytest.MonkeyPatch) -> None:
    content = body([group(3), *travelling([image_group(5, [grey(10), grey(20)])])], ALICE)
    announcement, wire = offer(content)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    outcomes = [verdict.outcome for verdict, _ in text_verifier().verify(announcement, wire)]
    assert outcomes == [Outcome.ACCEPTED, Outcome.UNUSABLE]


def test_images_survive_both_pools_snapshots() -> None:
    keeper, pool = image_verifier(), ExternalPool()
    [(_, arrived)] = keeper.verify(*offer(body([image_group(5, [grey(10), *NOISE])], ALICE)))
    assert arrived is not None
    pool.add(arrived, 1.0)
    restored = ExternalPool()
    restored.restore(json.loads(json.dumps(pool.snapshot())))
    assert restored.snapshot() == pool.snapshot()
    own = image_group(6, [grey(1), grey(2)])
    open_group = OpenGroup(3, 0, own.problem, 2, own.rollouts)
    rollouts = OpenGroups(0, [open_group])
    again = OpenGroups(0)
    again.restore(json.loads(json.dumps(rollouts.snapshot())))
    assert again.groups == [open_group]


def test_a_pool_of_large_images_is_bounded_by_their_pixels() -> None:
    pool = ExternalPool(PoolSettings(pixels=3 * 2 * 64))
    for peer, seed in ((ALICE, 1), (BOB, 2), (ALICE, 3), (ALICE, 4)):
        pool.add(replace(image_group(seed, [grey(10), grey(200)]), origin=peer), float(seed))
    assert pool.counts() == {ALICE: 2, BOB: 1}  # who fills it loses the own oldest
    kept = pool.draw(9, np.random.default_rng(0), 4.0)
    assert {group.problem.seed for group in kept} == {2, 3, 4}


def test_what_one_body_holds_in_pixels_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [image_group(seed, [grey(10), grey(200)]) for seed in range(3)]
    monkeypatch.setattr("swarm.wire.body.MAX_BODY_PIXELS", 2 * 2 * 3 * 64)
    assert [g.problem.seed for g in travelling([groups[0], group(9), *groups[1:]])] == [0, 9, 1]


def test_an_image_that_is_none_is_left_out_and_hides_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    good = [SharedRollout("", Finish.STOP, 0.5, images.encode(grey(level))) for level in (10, 90, 200)]
    sent = body_of(
        [SharedGroup(Brightness.name, 5, (*good, SharedRollout("", Finish.STOP, 0.5, b"junk")))], ALICE
    )
    [(verdict, _)] = image_verifier().verify(*offer(sent))
    assert (verdict.outcome, verdict.rollouts, verdict.left_out) == (Outcome.ACCEPTED, 3, (Reason.IMAGE,))
    monkeypatch.setattr("swarm.admission.rollout_verifier.MAX_BODY_PIXELS", 3 * 3 * 64 - 1)
    [(verdict, _)] = image_verifier().verify(*offer(sent))
    assert "opened in one body" in verdict.detail


def test_in_a_mixed_swarm_each_node_fetches_what_it_can_use() -> None:
    """ALICE draws, BOB writes and CAROL does both; two more nodes, of one kind each, listen."""
    clock = ManualClock()
    hub = MemoryHub("swarm-of-tests", clock)
    drawn = image_group(5, [grey(level) for level in LEVELS])
    for peer, groups in ((ALICE, [drawn]), (BOB, [group(3)]), (CAROL, [drawn, group(4)])):
        content = body(travelling(groups), peer)
        wire = encode_body(content)
        tasks = summarise(travelling(groups), 1, 3, "tiny").tasks
        announced = announce(content, wire)
        hub.offer(replace(announced, summary=replace(announced.summary, tasks=tasks)), wire)
    sizes = {a.peer: a.size for a, _ in hub.visible(NODE)}
    for keeper, mine, seed, beside in ((image_verifier(), ALICE, 5, BOB), (text_verifier(), BOB, 3, ALICE)):
        pool = ExternalPool()
        listener = Gossip(hub.join(NODE), keeper, pool, clock, np.random.default_rng(0))
        for _ in range(3):
            listener.step()
        listener.close()
        counters = listener.counters()
        # CAROL's images are copies of ALICE's, or ALICE's of CAROL's: only what is text is surely there twice.
        assert pool.counts().keys() == {mine, CAROL} if mine == BOB else len(pool) == 1
        assert seed in {g.problem.seed for g in pool.draw(9, np.random.default_rng(0), clock())}
        assert (counters["unusable_bodies"], counters["unusable_bytes"]) == (1, sizes[beside])
        assert counters["fetched_bytes"] == sizes[mine] + sizes[CAROL]
        assert (counters["fetched"], counters["unusable"]) == (2, 1)


def test_one_peers_word_on_a_body_keeps_nobody_from_fetching_it_of_another() -> None:
    """MALLORY announces BOB's text as images: to those who write, BOB's own announcement still counts."""
    clock = ManualClock()
    hub = MemoryHub("swarm-of-tests", clock)
    announced, wire = offer(body([group(3)], BOB))
    lie = replace(announced.summary, tasks=(TaskSummary(Brightness.name, 2, 0.5),))
    hub.offer(replace(announced, peer=MALLORY, summary=lie, created=clock() + 1), wire)
    pool = ExternalPool()
    listener = Gossip(hub.join(NODE), text_verifier(), pool, clock, np.random.default_rng(0))
    clock.now += 2
    listener.step()
    hub.offer(announced, wire)
    listener.step()
    listener.close()
    assert pool.counts() == {BOB: 1}


def test_text_claims_still_travel_beside_images() -> None:
    content = body_of([shared_group(7, ("it is 8", 1.0), ("it is 9", 0.25))], ALICE)
    assert decode_body(encode_body(content)) == content
