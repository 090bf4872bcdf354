"""Settings of a text policy: model, sampling, training, and how the embedded one is made.

Every default is the setting that was tried. Plain values that validate themselves, so that a config file
can hold them as they are.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from policies.settings import Settings, absolute_if_local
from policies.tasks import EMBEDDED
from policies.tasks.embedded import FAMILIES
from policies.text.chat.settings import PromptSettings

Arithmetic = Literal["auto", "float32", "bfloat16"]
GIGABYTE = 1_000_000_000
WEIGHTS_FOLDER = "weights"  # of a policy that was saved
PLAIN_TOKENS = 4096  # of a micro-batch on a CPU
MAX_NEW_TOKENS = 131_072  # longer than any completion that is trained on here; a typing error is


class LoraSettings(Settings):
    """A low-rank adapter (arXiv 2106.09685): the model's own weights stay as they are."""

    rank: PositiveInt = 16
    """Rank of the update."""
    alpha: PositiveFloat = 32.0
    """Scale of the update, applied as alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of adapter inputs dropped while training. Above 0 the ratio of a fresh rollout is no longer 1."""
    target_modules: tuple[str, ...] | str = "all-linear"
    """Layers that get an adapter: `all-linear` (the output head is never one of them), a list of ends of their names,
    or one regex over whole names, such as `.*layers\\.[0-7]\\..*_proj`."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) (arXiv 2312.03732), so that a higher rank does not learn more slowly."""
    dora: bool = False
    """Train a magnitude beside the direction (arXiv 2402.09353): somewhat slower."""
    modules_to_save: tuple[str, ...] = ()
    """Layers that are trained and saved whole beside the adapter, by the end of their name, such as `lm_head`."""


class ModelSettings(Settings):
    """The model that a policy starts from: safetensors or GGUF; pickles and repository code are refused."""

    path: str = Field(min_length=1)
    """Hub id, local folder, .gguf file, or `package:DISTRIBUTION:GLOB`: a file of an installed package."""
    revision: str | None = None
    """Of a hub id: branch, tag or commit. The run's config.json holds the commit that it was."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights in memory. In full training, bfloat16 loses updates under 1/256 of a weight."""
    lora: LoraSettings | None = None
    """Train an adapter in place of all weights."""
    four_bit: bool = False
    """QLoRA (arXiv 2305.14314): the weights under the adapter lie in memory in four bits (NF4), and compute in `dtype`.
    It needs the extra `bitsandbytes` and safetensors weights."""
    adapter: str | None = None
    """Folder of an adapter (peft, safetensors) that was trained before on this model, to train on. Its rank and
    layers are its own: leave `lora` out."""

    @field_validator("path", "adapter")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        """A run that is resumed from another folder finds the same files, and no repository of that name."""
        return path if path is None else absolute_if_local(path)

    @model_validator(mode="before")
    @classmethod
    def _prompts_have_a_section(cls, given: Any) -> Any:
        moved = [key for key in ("system", "template_args") if isinstance(given, dict) and key in given]
        if moved:
            raise ValueError(
                f"{' and '.join(moved)} moved: write policy.prompt.{moved[0]}, in [policy.prompt]"
            )
        return given

    @model_validator(mode="after")
    def _one_adapter(self) -> Self:
        if self.lora is not None and self.adapter is not None:
            raise ValueError("lora makes a fresh adapter, and adapter takes one up: set one of the two")
        if self.four_bit and self.lora is None and self.adapter is None:
            raise ValueError(
                "weights in four bits cannot be trained: set lora too, as in lora = { rank = 16 }"
            )
        return self


class HeldOutSettings(Settings):
    """How held-out problems are answered; trained-on rollouts always come from the whole tempered distribution."""

    temperature: float = Field(default=1.0, ge=0.0)
    """Divides the logits; 0 takes the likeliest token every time."""
    top_k: PositiveInt | None = None
    """Choose among the k likeliest tokens only."""
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    """Choose among the fewest tokens that together have this probability."""


class GenerationSettings(Settings):
    """How rollouts are sampled: from the whole tempered distribution, with no top-k, top-p or penalties."""

    max_new_tokens: int = Field(default=64, ge=1, le=MAX_NEW_TOKENS)
    """Completion cap in tokens, the end-of-sequence token included."""
    max_external_tokens: int | None = Field(default=None, ge=1, le=MAX_NEW_TOKENS)
    """Cap of a peer's completion in the own tokenizer's tokens: a longer one is cut there, and scored as it is cut.
    None: `max_new_tokens`, so that peers teach nothing that the policy itself has no room for."""
    temperature: PositiveFloat = 1.0
    """Divides the logits, in sampling and in training alike."""
    slots: PositiveInt = 128
    """Most rollouts in flight at once, where the memory budget allows them."""
    memory_gb: PositiveFloat | None = None
    """Most memory that sampling may take beyond the weights, in GB. None: half of what is free at the time."""
    arithmetic: Arithmetic = "auto"
    """Type that sampling computes in. auto: bfloat16 if training does, and on a CPU with bfloat16 units from 50 million
    weights on; else the weights' own, which a CPU without such units widens to float32. Of float32 weights bfloat16 is
    1.4 to 1.85 times as fast, log-probs 0.03 nats off in the mean; updates correct for the sampler's. A model that it
    is too coarse for is sampled in float32, and the start says so."""
    held_out: HeldOutSettings = HeldOutSettings()
    """How held-out problems are answered."""

    @property
    def external_cap(self) -> int:
        return self.max_external_tokens or self.max_new_tokens

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory_gb is None else int(self.memory_gb * GIGABYTE)


class TrainerSettings(Settings):
    """One optimiser update: clipped policy gradient, all tokens of the step weigh the same."""

    learning_rate: PositiveFloat = 2e-4
    """Peak rate: 2e-4 for under a million weights, 3e-4 for an adapter, 1e-6 for a large model in full."""
    scheduler: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the rate after the warmup; linear and cosine reach zero and stay there."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates over which the rate rises from zero."""
    schedule_steps: PositiveInt | None = None
    """Update at which linear and cosine reach zero, counted from the start. None: the run's `rounds`."""
    optimizer: Literal["adamw", "adamw_fused", "adamw_8bit", "adafactor"] = "adamw"
    """`adamw_fused` is faster on a GPU; `adamw_8bit` (extra `bitsandbytes`) keeps its state in a quarter of the memory;
    `adafactor` keeps next to none."""
    loss: Literal["dapo", "cispo"] = "dapo"
    """`dapo` clips the ratio as PPO does (arXiv 2503.14476), `cispo` only caps its weight (2506.13585)."""
    epsilon_low: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Lower clip: ratios under 1 - epsilon_low stop pulling. Unused by cispo."""
    epsilon_high: PositiveFloat = 0.28
    """Upper clip: ratios over 1 + epsilon_high stop pulling. For cispo the cap itself, usually 5."""
    beta: float = Field(default=0.0, ge=0.0)
    """Weight of the KL divergence to the model without its adapter, over rollouts that have an advantage; it costs a
    forward pass. For adapters only."""
    entropy_bonus: float = Field(default=0.0, ge=0.0)
    """Weight of the policy's entropy, in nats a token, which the update raises too; 0.001 to 0.01 are usual."""
    mask_truncated: bool = False
    """Train nothing on rollouts that were cut at `max_new_tokens` (arXiv 2503.14476, sec. 3.4); they still count in
    their group's mean."""
    max_grad_norm: PositiveFloat = 1.0
    """The gradient is scaled down to this norm."""
    adam_beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of AdamW's mean of gradients."""
    adam_beta2: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Decay of AdamW's mean of squares; 0.99 because a run is a few hundred updates long."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's pull towards zero, per update and unit of learning rate."""
    token_budget: PositiveInt | Literal["auto"] = "auto"
    """Most tokens in one micro-batch, padding included: bounds memory, leaves the gradient as it is. auto: 4096, and on
    a GPU what the card has room for, 1024 to 65,536.

    2,960 tokens through SmolLM2-135M in fp32 take 9 GB.
    """
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: more time for much less memory."""
    bf16: bool | Literal["auto"] = "auto"
    """Run the model in bfloat16 autocast, sampling included. auto: on a GPU that has it, and not on a CPU."""

    @property
    def most_tokens(self) -> int:
        """Of one micro-batch, where no card has settled it."""
        return PLAIN_TOKENS if self.token_budget == "auto" else self.token_budget

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.schedule_steps is not None and self.warmup_steps >= self.schedule_steps:
            raise ValueError(f"warmup_steps must be under schedule_steps, which is {self.schedule_steps}")
        if self.loss == "cispo" and self.epsilon_high < 1.0:
            raise ValueError(
                "cispo caps the ratio at epsilon_high itself: set epsilon_high to 1 or more, usually 5"
            )
        return self


class TextSettings(Settings):
    """How a text policy samples and learns, whichever model it has."""

    generation: GenerationSettings = GenerationSettings()
    """How rollouts are sampled."""
    trainer: TrainerSettings = TrainerSettings()
    """How an update is made."""
    prompt: PromptSettings = PromptSettings()
    """What stands round a problem: system message, template, examples, answer format, stop strings."""

    def settled(
        self, *, rounds: int | None = None, bfloat16: bool = False, token_budget: int | None = None
    ) -> Self:
        """With what the run and its device decide: the schedule's length, whether `auto` is bfloat16, and the budget.

        Raises ValueError where the warmup outlasts the run.
        """
        trainer, settled = self.trainer, dict[str, object]()
        if trainer.schedule_steps is None and rounds is not None:
            if trainer.scheduler != "constant" and trainer.warmup_steps >= rounds:
                raise ValueError(f"trainer.warmup_steps must be under the {rounds} rounds of the run")
            settled["schedule_steps"] = rounds
        if trainer.bf16 == "auto":
            settled["bf16"] = bfloat16
        if trainer.token_budget == "auto" and token_budget is not None:
            settled["token_budget"] = token_budget
        return self.model_copy(update={"trainer": trainer.model_copy(update=settled)})

    @property
    def arithmetic(self) -> Arithmetic:
        """Type that sampling computes in: `auto` is bfloat16 where training is in it."""
        wanted = self.generation.arithmetic
        return "bfloat16" if wanted == "auto" and self.trainer.bf16 is True else wanted


class EmbeddedSettings(Settings):
    """The recipe of an embedded policy. Equal recipes give equal weights."""

    seed: int = 0
    """Of the initial weights and of the warm start's data."""
    size: Literal["small", "normal"] = "normal"
    """0.2 or 0.6 M parameters."""
    steps: PositiveInt = 220
    """Supervised steps."""
    batch: PositiveInt = 64
    """Answers a step, spread evenly over the tasks."""
    learning_rate: PositiveFloat = 3e-3
    """Peak rate of AdamW."""
    skills: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(FAMILIES, 0.35), min_length=1)
    """How often each task is answered right at the end, 0 to 1; else by its wrong habit. Others are unseen."""

    @field_validator("skills")
    @classmethod
    def _known_shares(cls, skills: dict[str, float]) -> dict[str, float]:
        for task, share in skills.items():
            if task not in EMBEDDED:
                raise ValueError(f"no embedded task {task!r}; there are {', '.join(EMBEDDED)}")
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"skill of {task} is {share}; a share lies between 0 and 1")
        return skills
