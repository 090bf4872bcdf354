"""Groups and rollouts as plain data for checkpoints: dicts, lists, text, numbers and None."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from policies.rollout import Finish, Group, Image, Problem, Rollout, Segment


def plain_group(group: Group) -> dict[str, Any]:
    return {
        "problem": asdict(group.problem),
        "rollouts": [plain_rollout(rollout) for rollout in group.rollouts],
        "origin": group.origin,
    }


def read_group(data: dict[str, Any]) -> Group:
    """What `plain_group` gave, straight or through JSON or msgpack."""
    rollouts = tuple(read_rollout(rollout) for rollout in data["rollouts"])
    return Group(Problem(**data["problem"]), rollouts, data["origin"])


def plain_rollout(rollout: Rollout) -> dict[str, Any]:
    return {
        "text": rollout.text,
        "segments": [_plain_segment(segment) for segment in rollout.segments],
        "finish": rollout.finish.value,
        "reward": rollout.reward,
        "no_verdict": rollout.no_verdict,
        "image": None if rollout.image is None else _plain_image(rollout.image),
    }


def read_rollout(data: dict[str, Any]) -> Rollout:
    """What `plain_rollout` gave, straight or through JSON or msgpack."""
    return Rollout(
        text=data["text"],
        segments=tuple(_read_segment(segment) for segment in data["segments"]),
        finish=Finish(data["finish"]),
        reward=data["reward"],
        image=None if data["image"] is None else _read_image(data["image"]),
        no_verdict=data.get("no_verdict", False),  # checkpoints of before do not have it
    )


def _plain_segment(segment: Segment) -> dict[str, Any]:
    return {
        "policy_version": segment.policy_version,
        "token_ids": list(segment.token_ids),
        "logprobs": None if segment.logprobs is None else list(segment.logprobs),
    }


def _read_segment(data: dict[str, Any]) -> Segment:
    logprobs: Sequence[float] | None = data["logprobs"]
    known = None if logprobs is None else tuple(logprobs)
    return Segment(data["policy_version"], tuple(data["token_ids"]), known)


def _plain_image(image: Image) -> dict[str, Any]:
    packed = base64.b85encode(zlib.compress(image.pixels, level=1)).decode("ascii")
    return {"width": image.width, "height": image.height, "channels": image.channels, "pixels": packed}


def _read_image(data: dict[str, Any]) -> Image:
    pixels = zlib.decompress(base64.b85decode(data["pixels"]))
    return Image(data["width"], data["height"], data["channels"], pixels)
