"""Settings of a diffusion policy: its network, its sampling trees, the part of them that is trained, the optimiser.

Published methods are presets of the same settings. Every default is the setting that was tried.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from policies.settings import Settings


class DigitsSource(Settings):
    """The embedded network and the recipe of its start. Equal recipes give equal weights."""

    type: Literal["digits"] = "digits"
    """The small network that murmur makes itself: nothing is downloaded."""
    steps: PositiveInt = 20
    """Denoising steps from noise to image."""
    layers: PositiveInt = 3
    """Transformer blocks."""
    heads: PositiveInt = 3
    """Attention heads of a block."""
    head_width: PositiveInt = 16
    """Dimensions of a head."""
    prompt_width: PositiveInt = 32
    """Dimensions of a prompt's token."""
    seed: int = 0
    """Of the initial weights and of the start's draws."""
    start_steps: PositiveInt = 2500
    """Supervised steps."""
    batch: PositiveInt = 128
    """Images a supervised step."""
    learning_rate: PositiveFloat = 2e-3
    """Peak rate of AdamW in the supervised start."""
    wrong_labels: float = Field(default=0.4, ge=0.0, le=1.0)
    """Share of labels drawn at random in it: what is left for rewards to teach. 0.4 starts 0.60 right."""


class Kind(StrEnum):
    """How a step that is not deterministic spreads its noise."""

    CPS = "cps"  # keeps the forward process's marginals exactly at any step size (arXiv 2509.05952)
    DANCE = "dance"  # Euler step of an SDE with constant noise (DanceGRPO, arXiv 2505.07818)
    FLOW = "flow"  # the same with noise growing like s / (1 - s) (Flow-GRPO, arXiv 2505.05470)
    DDIM = "ddim"  # the posterior's own noise (arXiv 2010.02502, eq. 16)


class WindowSettings(Settings):
    """A run of neighbouring steps that may move with the number of updates."""

    first: int = Field(default=0, ge=0)
    """Its first step before the first update."""
    size: PositiveInt = 4
    """Steps."""
    every: int = Field(default=0, ge=0)
    """Updates between two moves; 0: it stays."""
    stride: int = 1
    """Steps a move, towards the image; negative: towards the noise."""
    last: int | None = Field(default=None, ge=0)
    """The first step at which it stops moving. None: it goes on to the end."""


class TreeSettings(Settings):
    """How images are sampled, and what of the samples is trained.

    The default has the shape of BranchGRPO-Mix: early splits and early noise, and a short deterministic way to the end.
    """

    splits: dict[int, PositiveInt] = Field(default_factory=lambda: {0: 4, 3: 2, 6: 2})
    """Step -> children of every node there. As many roots are added as `strategy.rollouts` asks for."""
    split_scale: PositiveFloat = 4.0
    """The paper's s: siblings' noises have covariance 1 / (1 + s^2)."""
    kind: Kind = Kind.CPS
    """cps (exact marginals), ddim, dance or flow."""
    eta: float = Field(default=0.5, ge=0.0, le=1.0)
    """How noisy a noisy step is; 0 samples by the ODE."""
    noisy: WindowSettings | None = WindowSettings(first=1, size=2)
    """Steps that are noisy besides the splits. None: all."""
    tail: int = Field(default=3, ge=0)
    """Deterministic steps from the last noisy one to the image, longer where they are fewer. 0: the schedule's own."""
    learn: Literal["reverse", "forward"] = "reverse"
    """`reverse`: clipped ratios of the noisy steps. `forward`: from finished images alone, own ones too."""
    fusion_beta: float = Field(default=0.0, ge=0.0)
    """Weight of a leaf in the value of a node above: exp(beta * log-prob of the path); 0 is the unbiased mean."""
    scale: Literal["depth", "leaves"] = "depth"
    """What a depth's values are divided by: their own deviation, or that of the leaves."""
    balance: Literal["depth", "edge"] = "depth"
    """Weigh all trained steps alike, or all edges as published, which gives the first step under 1 %."""
    width: Literal["all", "parent_top1", "extreme"] = "all"
    """Leaves trained below the last split: all, the best of each parent, or the `extremes` best and worst."""
    extremes: PositiveInt = 4
    """Best leaves, and as many worst, that `extreme` keeps."""
    pruned: WindowSettings | None = None
    """Steps that are sampled but not trained."""
    clip: float = Field(default=1e-3, gt=0.0, lt=1.0)
    """Ratios, of densities averaged over dimensions, stop pulling beyond 1 -+ clip."""
    max_advantage: PositiveFloat = 5.0
    """Advantages are cut to this size."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A preset's name, or a table with `preset` and what differs from it."""
        if isinstance(value, str):
            value = {"preset": value}
        if not isinstance(value, dict) or "preset" not in value:
            return value
        name, changes = value["preset"], {key: given for key, given in value.items() if key != "preset"}
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        return {**PRESETS[name], **changes}

    @field_validator("splits")
    @classmethod
    def _no_negative_steps(cls, splits: dict[int, int]) -> dict[int, int]:
        if min(splits, default=0) < 0:
            raise ValueError("steps are counted from 0")
        return dict(sorted(splits.items()))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.eta == 0 and (self.splits or self.learn == "reverse"):
            raise ValueError("eta 0 has neither splits nor densities: set splits = {} and learn = 'forward'")
        return self


# Published methods, each as its paper means it; all of them share sampler, trainer and interface.
PRESETS: dict[str, dict[str, Any]] = {
    "branch": {},
    "branchgrpo": {  # arXiv 2509.06040: every step noisy, one weight an edge, the late steps pruned in turn
        "splits": {0: 2, 3: 2, 6: 2, 9: 2},
        "noisy": None,
        "tail": 0,
        "balance": "edge",
        "kind": "dance",
        "eta": 0.3,
        "pruned": {"first": 10, "size": 4, "every": 30, "stride": 1, "last": 15},
    },
    "branchgrpo-mix": {  # sec. 4.4: noisy and trained at the splits and in a window that moves, the rest by the ODE
        "splits": {0: 2, 3: 2, 6: 2, 9: 2},
        "noisy": {"first": 0, "size": 4, "every": 30},
        "tail": 0,
        "balance": "edge",
        "kind": "dance",
        "eta": 0.3,
    },
    "dancegrpo": {  # arXiv 2505.07818: a sequential group from one start noise
        "splits": {0: 1024},
        "noisy": None,
        "tail": 0,
        "balance": "edge",
        "kind": "dance",
        "eta": 0.3,
    },
    "mixgrpo": {  # arXiv 2507.21802: the same, noisy in a window that moves
        "splits": {0: 1024},
        "noisy": {"first": 0, "size": 4, "every": 25},
        "tail": 0,
        "balance": "edge",
        "kind": "dance",
        "eta": 0.3,
    },
    "nft": {  # arXiv 2509.16117: ODE samples from start noises of their own, learnt from by re-noising
        "splits": {},
        "eta": 0.0,
        "tail": 10,
        "learn": "forward",
    },
}


class ForwardSettings(Settings):
    """The update from finished images, own or of peers (after DiffusionNFT, arXiv 2509.16117)."""

    beta: PositiveFloat = 1.0
    """How far the implicit positive and negative policies lie from the old one."""
    draws: PositiveInt = 6
    """Noise levels that each image is looked at with."""
    steps: PositiveInt = 2
    """Optimiser steps an update, each on an equal share of the images."""
    old_decay: float = Field(default=0.5, ge=0.0, lt=1.0)
    """The old policy is a running mean of the weights that keeps this share of itself at every update."""
    reference_weight: float = Field(default=1e-3, ge=0.0)
    """Weight of the squared distance of velocities from the reference policy's."""
    external_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Most weight that the images of peers have together in an update with own images."""


class DiffusionTrainerSettings(Settings):
    """One optimiser update."""

    learning_rate: PositiveFloat = 2e-4
    """AdamW's rate: 2e-4 for the digits network, 1e-4 for an adapter, 1e-5 for a large network in full."""
    weight_decay: float = Field(default=1e-4, ge=0.0)
    """AdamW's pull towards zero, per update and unit of learning rate."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient is scaled down to this norm."""
    rows: PositiveInt = 256
    """Latents in one evaluation of the network at most, with gradients or without: bounds memory, changes no result."""
    tree_memory_gb: PositiveFloat = 2.0
    """Trees that wait for their update may take this much, in GB; older ones are then learnt from as images."""


class DiffusionSettings(Settings):
    """How a diffusion policy samples and learns, whichever network it has."""

    tree: TreeSettings = TreeSettings()
    """The roll-out and what of it is trained: a preset (branch, branchgrpo, dancegrpo, mixgrpo, nft) or a table."""
    forward: ForwardSettings = ForwardSettings()
    """How finished images are learnt from: those of peers, and all of them with learn = "forward"."""
    trainer: DiffusionTrainerSettings = DiffusionTrainerSettings()
    """How an update is made."""
