"""The memory that a known pipeline will take, from its published shape alone: nothing is loaded or looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.diffusion.pipeline.settings import ATTENTION, PipelineSettings
from policies.policy import PolicyError

GB = 10**9
BYTES = {"float32": 4, "bfloat16": 2}
# Values alive at once per pixel while AutoencoderKL decodes: three maps of 256 channels at full size. Counted by a
# dispatch mode over its decode at 64 and 96 pixels a side (encoding: 643).
DECODED_VALUES = 768
# What the libraries themselves take of an accelerator: its context and workspaces.
OVERHEAD = 2**30
# An adapter's weight, gradient and AdamW's two averages, all float32.
ADAPTER_BYTES = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that one block keeps for its backward pass, per token and unit of width, measured on small blocks.

    With an adapter on the attention or on all linear layers; peft keeps a float32 copy of each adapted layer's input.
    """

    bfloat16: tuple[float, float]  # attention, all-linear
    float32: tuple[float, float]


SD3_JOINT = Kept((48.6, 76.8), (56.8, 92.9))
SD3_SECOND_ATTENTION = Kept((36.6, 38.6), (28.6, 32.6))  # of image tokens only
FLUX_DOUBLE = Kept((44.6, 72.7), (52.7, 88.8))
FLUX_SINGLE = Kept((38.4, 66.6), (48.5, 76.6))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of one kind in a network."""

    kept: Kept
    count: int
    image_only: bool = False  # text tokens pass them by


@dataclass(frozen=True, slots=True)
class Footprint:
    """The published shape of a pipeline. Parameters include buffers that are saved with them."""

    network: int
    text_encoders: int
    autoencoder: int
    width: int  # of a token inside the network
    blocks: tuple[Blocks, ...]
    text_tokens: int
    patch: int  # pixels that a token stands for, along each side
    attention_ends: int  # inputs and outputs of all attention projections together: parameters of rank 1
    linear_ends: int  # the same of all linear layers
    two_passes: bool  # guidance evaluates the network twice


PUBLISHED: Mapping[str, Footprint] = {
    "stabilityai/stable-diffusion-3.5-medium": Footprint(
        network=2_243_171_520 + 226_492_416,  # and its table of positions
        text_encoders=123_650_304 + 694_659_840 + 4_762_310_656,  # CLIP-L, CLIP-G, T5-XXL
        autoencoder=83_819_683,
        width=1536,
        blocks=(Blocks(SD3_JOINT, 24), Blocks(SD3_SECOND_ATTENTION, 13, image_only=True)),
        text_tokens=333,
        patch=16,
        attention_ends=746_496,
        linear_ends=2_061_632,
        two_passes=True,
    ),
    "black-forest-labs/FLUX.1-dev": Footprint(
        network=11_901_408_320,
        text_encoders=123_060_480 + 4_762_310_656,  # CLIP-L, T5-XXL
        autoencoder=83_819_683,
        width=3072,
        blocks=(Blocks(FLUX_DOUBLE, 19), Blocks(FLUX_SINGLE, 38)),
        text_tokens=512,
        patch=16,
        attention_ends=1_634_304,
        linear_ends=5_421_440,
        two_passes=False,
    ),
}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes, by what they are for. Measured constants, so a guide and no promise."""

    network: int
    autoencoder: int
    text_encoders: int
    encoders_stay: bool  # on the device while training
    training: int  # adapter, its gradients and the optimiser's state
    activations: int  # of one micro-batch, kept for its backward pass
    decoding: int

    @property
    def device(self) -> int:
        """The most that is on the device at once: training, making images, or reading prompts."""
        resident = self.network + self.autoencoder + self.training + OVERHEAD
        working = max(self.activations, self.decoding) + (self.text_encoders if self.encoders_stay else 0)
        return resident + max(working, self.text_encoders)

    def __str__(self) -> str:
        parts = {
            "network": self.network,
            "adapter and optimiser": self.training,
            "activations": self.activations,
            "text encoders"
            if self.encoders_stay
            else "text encoders while prompts are read": self.text_encoders,
            "decoding": self.decoding,
        }
        listed = ", ".join(f"{name} {size / GB:.1f}" for name, size in parts.items())
        return f"about {self.device / GB:.0f} GB ({listed})"


def memory_estimate(settings: PipelineSettings, micro_batch: int = 1) -> MemoryEstimate:
    """What training `micro_batch` images at once takes. Raises PolicyError for a pipeline of unknown shape."""
    footprint = PUBLISHED.get(settings.path)
    if footprint is None:
        known = ", ".join(PUBLISHED)
        raise PolicyError(
            f"the memory that {settings.path} wants is not known; estimates are there for {known}"
        )
    return estimate(footprint, settings, micro_batch)


def estimate(footprint: Footprint, settings: PipelineSettings, micro_batch: int = 1) -> MemoryEstimate:
    """The same for a pipeline of any shape that is known."""
    size = BYTES[settings.dtype]
    return MemoryEstimate(
        network=footprint.network * size,
        autoencoder=footprint.autoencoder * size,
        text_encoders=footprint.text_encoders * size,
        encoders_stay=settings.text_encoders == "keep",
        training=_training(footprint, settings),
        activations=_activations(footprint, settings, micro_batch),
        decoding=DECODED_VALUES * settings.height * settings.width * size * settings.decode_batch,
    )


def _training(footprint: Footprint, settings: PipelineSettings) -> int:
    if settings.lora is None:  # a gradient and AdamW's two averages, of the weights' own type
        return 3 * footprint.network * BYTES[settings.dtype]
    ends = footprint.attention_ends if _attention_only(settings) else footprint.linear_ends
    return ADAPTER_BYTES * settings.lora.rank * ends


def _activations(footprint: Footprint, settings: PipelineSettings, micro_batch: int) -> int:
    """All blocks' own, or with checkpointing the input of each and the widest one's own while it is recomputed."""
    image = (settings.height // footprint.patch) * (settings.width // footprint.patch)
    blocks = []
    for kind in footprint.blocks:
        kept = kind.kept.bfloat16 if settings.dtype == "bfloat16" else kind.kept.float32
        tokens = image + (0 if kind.image_only else footprint.text_tokens)
        one = kept[0 if _attention_only(settings) else 1] * tokens * footprint.width
        blocks.append((kind, one, tokens * footprint.width * BYTES[settings.dtype]))
    if settings.gradient_checkpointing:
        # A second attention is part of a block that is there already: it has no input of its own to keep.
        inputs = sum(kind.count * entering for kind, _, entering in blocks if not kind.image_only)
        total = inputs + max(one for kind, one, _ in blocks if not kind.image_only)
        total += sum(one for kind, one, _ in blocks if kind.image_only)
    else:
        total = sum(kind.count * one for kind, one, _ in blocks)
    return int(total * micro_batch * (2 if _two_passes(footprint, settings) else 1))


def _attention_only(settings: PipelineSettings) -> bool:
    return settings.lora is not None and settings.lora.target_modules == ATTENTION


def _two_passes(footprint: Footprint, settings: PipelineSettings) -> bool:
    return footprint.two_passes and (settings.guidance is None or settings.guidance > 1.0)
