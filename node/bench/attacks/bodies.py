"""The dearest bodies that a peer can build within the protocol's bounds, one function each.

Each aims at another step of the checks: frame, decoding, tokenizer, task, images, memory. None breaks a rule that a
cheaper check would see.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import numpy as np

from node.bench.attacks.offers import Offer, Sender, group
from policies.rollout import Finish
from policies.seeds import derive_generator
from policies.tasks import build_task
from policies.tasks.embedded import FAMILIES
from policies.tasks.held_out import ReservedError
from policies.tasks.task import DrawnTask, TaskSpec
from policies.workers.pool import pool_cpu_seconds
from swarm.limits import (
    MAX_BODY_PIXELS,
    MAX_BODY_RAW,
    MAX_BODY_ROLLOUTS,
    MAX_GROUP_IMAGES,
    MAX_GROUPS,
    MAX_IMAGE_SIDE,
    MAX_ROLLOUTS,
    MAX_TEXT,
)
from swarm.wire.body import SharedGroup, SharedRollout

TEXT_TASK, IMAGE_TASK = "sort@3", "digits@1"
GYM_DATASET = "rg:zebra_puzzles"  # among the slowest to make a problem of
TRIED = 40  # seeds of it that an attacker tries for the dearest
CAP = 512  # tokens of a completion here; of the embedded tokenizer's, one a character
LONGEST = 16_384  # characters that the verifier looks at, and no more
_LETTERS = np.array(list("abcdefghij 0123456789.,:;+-*/="))
_HALF = LONGEST // 2


def texts(count: int, length: int, seed: int) -> list[str]:
    """Texts that do not compress well and all differ."""
    drawn = derive_generator(seed, "bench", "attacks", "texts").integers(0, len(_LETTERS), (count, length))
    return ["".join(row) for row in _LETTERS[drawn]]


def honest(sender: Sender, groups: int = 32, seed: int = 0) -> Offer:
    """Groups of eight completions of CAP tokens each, one of them right."""
    task = FAMILIES["sort"]
    made = []
    for place in range(groups):
        number = 1000 * seed + place
        written = texts(8, CAP - 1, number)  # the end of a completion takes a token
        written[0] = task.problem(number).answer
        made.append(group(TEXT_TASK, number, written))
    return sender.offer(made)


def honest_large(sender: Sender) -> Offer:
    """Eight groups of 256 completions of 64 tokens, one in eight right: of a node that samples as BroRL does."""
    return sender.offer([_with_right(number, texts(224, 63, number), 32) for number in range(8)])


def bought_lesson(sender: Sender) -> Offer:
    """One right completion, for whose sake 200 that are slow to read and to judge might be looked at."""
    return sender.offer([_with_right(7, [" " * LONGEST] * 200, 1)])


def _with_right(number: int, wrong: Sequence[str], right: int) -> SharedGroup:
    """A group with so many right completions, whose claims are true."""
    answers = group(TEXT_TASK, number, [FAMILIES["sort"].problem(number).answer] * right, claim=1.0)
    others = group(TEXT_TASK, number, wrong)
    return replace(others, rollouts=(*others.rollouts, *answers.rollouts))


def blanks(sender: Sender) -> Offer:
    """256 groups of one text of 16,384 blanks, and a second one to compare it with."""
    return sender.offer([group(TEXT_TASK, n, [" " * LONGEST, "1"]) for n in range(MAX_GROUPS)])


def equal_groups(sender: Sender) -> Offer:
    """As many groups of one text as a body holds rollouts for: all pass, and none has anything to learn from."""
    each = MAX_BODY_ROLLOUTS // MAX_GROUPS
    return sender.offer([group(TEXT_TASK, n, ["x" * (CAP - 1)] * each) for n in range(MAX_GROUPS)])


def bought_time(sender: Sender) -> Offer:
    """Every fifth group is good and pays for the four around it, which say one thing."""
    task = FAMILIES["sort"]
    made: list[SharedGroup] = []
    for number in range(MAX_GROUPS):
        written = texts(8, CAP - 1, number) if number % 5 == 0 else ["x" * (CAP - 1)] * 8
        if number % 5 == 0:
            written[0] = task.problem(number).answer
        made.append(group(TEXT_TASK, number, written))
    return sender.offer(made)


def large_group(sender: Sender) -> Offer:
    """One group of 1,024 completions at the cap: none ends it before its last."""
    return sender.offer([group(TEXT_TASK, 7, texts(MAX_ROLLOUTS, CAP - 1, 1))])


def large_groups_of_blanks(sender: Sender) -> Offer:
    """Two groups of 1,024 completions, half of what a body holds in blanks each."""
    length = min(LONGEST, MAX_BODY_RAW // MAX_BODY_ROLLOUTS - 64)
    full = [" " * length] * MAX_ROLLOUTS
    return sender.offer([group(TEXT_TASK, n, full) for n in range(MAX_BODY_ROLLOUTS // MAX_ROLLOUTS)])


def duplicates(sender: Sender) -> Offer:
    """The same problem 256 times over, at the cap: replays of a peer by itself."""
    return sender.offer([group(TEXT_TASK, 7, texts(8, CAP - 1, n)) for n in range(MAX_GROUPS)])


def huge_numbers(sender: Sender) -> Offer:
    """Answers that are numbers of 16,384 digits, where a check might convert them."""
    return sender.offer([group(TEXT_TASK, n, ["9" * LONGEST, "0" * LONGEST]) for n in range(MAX_GROUPS)])


def answer_marks(sender: Sender) -> Offer:
    """Thousands of nested marks of an answer, which a lenient verifier looks for."""
    nested = ("<answer>\\boxed{" * LONGEST)[:LONGEST]
    return sender.offer([group(TEXT_TASK, n, [nested, nested[1:]]) for n in range(MAX_GROUPS)])


def accents(sender: Sender) -> Offer:
    """Combining accents: normalising tokenizers sort runs of them."""
    run = "e" + "\u0301\u0323" * (_HALF // 2)
    return sender.offer([group(TEXT_TASK, n, [run, run[:-1]]) for n in range(64)])


def control_words(sender: Sender) -> Offer:
    """Names of control tokens, each of which has to be encoded as plain letters."""
    words = ("<|end|><|assistant|>" * CAP)[: CAP - 1]
    return sender.offer([group(TEXT_TASK, n, [words, words[1:]]) for n in range(MAX_GROUPS)])


def one_letter_rollouts(sender: Sender) -> Offer:
    """The most rollouts that a body may hold, of one letter each: a frame of a hundred bytes or so."""
    return sender.offer([group(TEXT_TASK, n, ["a"] * MAX_ROLLOUTS) for n in range(2)])


def long_texts(sender: Sender) -> Offer:
    """Texts of 64 KiB, refused for their length, up to the size of an opened body."""
    fitting = MAX_BODY_RAW // (MAX_TEXT + 64)
    return sender.offer([group(TEXT_TASK, n, ["x" * MAX_TEXT, "y" * MAX_TEXT]) for n in range(fitting // 2)])


def deep_nesting(sender: Sender) -> Offer:
    """Sixteen million nested arrays where the groups should be."""
    start = sender.begin()
    return sender.offer_bytes(start + b"\x91" * (MAX_BODY_RAW - len(start)))


def decompression(sender: Sender) -> Offer:
    """Zeros up to the largest declared size, behind the start of a text."""
    start = sender.begin() + b"\x91\x93\xa6sort@3\x07\x91\x93\xda\xff\xff"
    return sender.offer_bytes(start + bytes(MAX_BODY_RAW - len(start)), level=19)


def gym_problems(sender: Sender) -> Offer:
    """256 problems of a procedural task, the dearest first: only the receiver computes them."""
    task, seeds = _dearest_seeds()
    return sender.offer([group(task, n, [f"{n}", f"{n + 1}"]) for n in seeds])


def nested_marks(sender: Sender) -> Offer:
    """Marks of an answer in one another, which a lenient verifier follows, in 1,024 completions of one group."""
    task, (seed, *_) = _dearest_seeds()
    marks = ("<answer>\\boxed{\\text{" * CAP)[: CAP - 1]
    return sender.offer([group(task, seed, [f"{n:04}{marks[4:]}" for n in range(MAX_ROLLOUTS)])])


@cache
def _dearest_seeds() -> tuple[str, Sequence[int]]:
    """The slowest procedural task, and seeds of it: the first TRIED before all others, the dearest first."""
    task = build_task(TaskSpec(GYM_DATASET))
    assert isinstance(task, DrawnTask)
    seconds: dict[int, float] = {}
    for seed in range(TRIED):
        started = pool_cpu_seconds()
        with suppress(ReservedError):
            task.first_draw(seed)
            seconds[seed] = pool_cpu_seconds() - started
    tried = sorted(seconds, key=lambda seed: -seconds[seed])
    return task.name, [*tried, *range(TRIED, TRIED + MAX_GROUPS - len(tried))]


def flat_images(sender: Sender) -> Offer:
    """Flat images of 1,024 x 1,024 pixels, 2 kB each, as many as a body may open."""
    from PIL import Image as pillow

    out = io.BytesIO()
    pillow.new("RGB", (MAX_IMAGE_SIDE, MAX_IMAGE_SIDE), (200, 30, 30)).save(out, "WEBP", quality=90)
    image = SharedRollout("", Finish.STOP, 0.0, out.getvalue())
    fitting = MAX_BODY_PIXELS // (3 * MAX_IMAGE_SIDE**2) // MAX_GROUP_IMAGES
    return sender.offer([SharedGroup(IMAGE_TASK, n, (image,) * MAX_GROUP_IMAGES) for n in range(fitting)])


def noisy_images(sender: Sender) -> Offer:
    """Many small noisy images, which take the longest to open for their pixels."""
    from PIL import Image as pillow

    generator = derive_generator(0, "bench", "attacks", "images")
    made: list[SharedGroup] = []
    for number in range(40):
        images: list[SharedRollout] = []
        for _ in range(MAX_GROUP_IMAGES):
            pixels = generator.integers(0, 256, (256, 256, 3), np.uint8)
            out = io.BytesIO()
            pillow.fromarray(pixels).save(out, "WEBP", quality=60)
            images.append(SharedRollout("", Finish.STOP, 0.0, out.getvalue()))
        made.append(SharedGroup(IMAGE_TASK, number, tuple(images)))
    return sender.offer(made[: _within(made)])


def _within(groups: Sequence[SharedGroup], limit: int = 3 * 2**20) -> int:
    """How many of the groups' images fit into a body."""
    sizes = np.cumsum([sum(len(rollout.image) for rollout in one.rollouts) for one in groups])
    return int((sizes <= limit).sum())


Build = Callable[[Sender], Offer]

TEXT_BODIES: Mapping[str, Build] = MappingProxyType(
    {
        build.__name__: build
        for build in (
            blanks,
            equal_groups,
            bought_time,
            large_group,
            honest_large,
            bought_lesson,
            large_groups_of_blanks,
            duplicates,
            huge_numbers,
            answer_marks,
            accents,
            control_words,
            one_letter_rollouts,
            long_texts,
            deep_nesting,
            decompression,
        )
    }
)
GYM_BODIES: Mapping[str, Build] = MappingProxyType(
    {"gym_problems": gym_problems, "nested_marks": nested_marks}
)
IMAGE_BODIES: Mapping[str, Build] = MappingProxyType(
    {"flat_images": flat_images, "noisy_images": noisy_images}
)
