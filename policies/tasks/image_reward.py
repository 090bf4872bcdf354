"""Tasks that ask for images of anything, judged by a published reward model: `pickscore`, `hpsv2`, `imagereward`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from policies.error_words import brief
from policies.image_rewards.reward_models import REWARD_MODELS, RewardModel, load_reward_model
from policies.plain_files import read_text
from policies.policy import PolicyError
from policies.rollout import Image, Problem
from policies.seeds import derive_seed
from policies.tasks.held_out import divide
from policies.tasks.task import HELD_OUT_SEED, TaskError, TaskSourceMissing, TaskSpec

if TYPE_CHECKING:
    from policies.image_rewards.scorer import Scorer

PARAMETERS = {"prompts", "weights"}
# Images more stretched than this score nothing: reward models would blow them up by as much.
MAX_STRETCH = 4.0
MAX_PROMPTS_BYTES = 10_000_000

STYLES = (
    "a photograph of",
    "an oil painting of",
    "a watercolour of",
    "a pencil drawing of",
    "a woodcut of",
    "a film still of",
    "a children's book illustration of",
    "a poster of",
)
SUBJECTS = (
    "a red fox",
    "an old fisherman",
    "two hens",
    "a girl with a kite",
    "a steam locomotive",
    "a bowl of oranges",
    "a lighthouse",
    "a white horse",
    "a robot with a broom",
    "three paper boats",
    "a violinist",
    "a stone bridge",
    "a sleeping cat",
    "a market stall full of spices",
    "a hot-air balloon",
    "a blue bicycle",
    "an owl on a branch",
    "a glass teapot",
    "a wooden chair",
    "a dancer in a green dress",
    "a snail on a leaf",
    "a fishing village",
    "a chess board",
    "a mountain goat",
)
SETTINGS = (
    "at dawn",
    "in the rain",
    "in thick fog",
    "under a starry sky",
    "in deep snow",
    "by candlelight",
    "on a crowded street",
    "in a sunlit garden",
    "beside a quiet lake",
    "in an empty hall",
    "in a desert",
    "seen from above",
    "in autumn colours",
    "against a plain wall",
)


class ImageRewardTask:
    """`pickscore@2` and the like, with `#digest` over prompts of the owner's own.

    Rewards map the model's score straight into [0, 1]; its module says from where to where. It is loaded by `load`, or
    else when it is first needed: a node that only passes records on has no use for it.
    """

    def __init__(self, model: RewardModel, prompts: Sequence[str] = (), weights: str = "") -> None:
        digest = hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:8]
        self.name = f"{model}@2" + (f"#{digest}" if prompts else "")
        self._model = model
        self._weights = weights
        known = [*prompts] or [" ".join(parts) for parts in product(STYLES, SUBJECTS, SETTINGS)]
        self._training, self._held_out = divide(model, known)
        self._scorer: Scorer | None = None

    def problem(self, seed: int) -> Problem:
        prompts = self._held_out if seed >= HELD_OUT_SEED else self._training
        return Problem(self.name, seed, prompts[derive_seed(seed, "prompt") % len(prompts)], "")

    def score_images(self, problem: Problem, images: Sequence[Image]) -> list[float]:
        """Each image alone, so that its reward does not depend on its company."""
        return [self._score(problem.prompt, image) for image in images]

    def load(self) -> Scorer:
        """The reward model, on a GPU where there is one. Raises TaskError with what to install or download."""
        if self._scorer is None:
            import torch

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            try:
                self._scorer = load_reward_model(self._model, self._weights, device)
            except PolicyError as error:
                raise TaskSourceMissing(str(error)) from error
        return self._scorer

    def _score(self, prompt: str, image: Image) -> float:
        import torch

        if max(image.width, image.height) > MAX_STRETCH * min(image.width, image.height):
            return 0.0
        flat = torch.frombuffer(bytearray(image.pixels), dtype=torch.uint8)
        pixels = flat.view(1, image.height, image.width, image.channels).permute(0, 3, 1, 2).float() / 255.0
        reward = float(self.load().score(pixels.expand(1, 3, -1, -1), [prompt])[0])
        return reward if math.isfinite(reward) else 0.0


def build_image_reward_task(spec: TaskSpec) -> ImageRewardTask:
    """Parameters: `prompts`, a text file with one prompt a line; `weights`, a local copy of the reward model.

    Raises TaskError for others, and for a file without prompts.
    """
    unknown = set(spec.params) - PARAMETERS
    if unknown:
        raise TaskError(f"{spec.name} takes prompts and weights, but was given {', '.join(sorted(unknown))}")
    (model,) = (name for name in REWARD_MODELS if name == spec.name)
    file = str(spec.params.get("prompts", ""))
    return ImageRewardTask(model, _lines(Path(file)) if file else (), str(spec.params.get("weights", "")))


def _lines(file: Path) -> tuple[str, ...]:
    try:
        found = file.stat()
        # An invite may name a device, a pipe or a kernel's file, which have no size and no end.
        if not S_ISREG(found.st_mode):
            raise TaskError(f"cannot read prompts from {file}: it is not a plain file")
        if found.st_size > MAX_PROMPTS_BYTES:
            raise TaskError(
                f"{file} is larger than the {MAX_PROMPTS_BYTES // 10**6} MB that prompts may take"
            )
        text = read_text(file) if found.st_size else ""
    except OSError as error:
        raise TaskSourceMissing(f"cannot read prompts from {file}: {brief(error)}") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"cannot read prompts from {file}: {brief(error)}") from error
    prompts = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if len(prompts) < 2:
        raise TaskError(f"{file} has {len(prompts)} prompts; it takes two or more, one a line")
    return prompts
