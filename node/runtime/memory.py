"""The memory that a run's text policy will take, against what its device has free: known before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from node.config.schema import Config
from node.config.sections.policy import EmbeddedPolicyConfig, TextPolicyConfig
from policies.policy import PolicyError
from policies.strategies import trained_rollouts
from policies.tasks import build_task
from policies.tasks.task import TaskError
from policies.text.arithmetic import has_bfloat16
from policies.text.engine.memory_plan import free_bytes
from policies.text.loading.model_path import is_gguf, resolve
from policies.text.memory.configuration import read_configuration
from policies.text.memory.estimate import Estimate, Load, model_size
from policies.text.memory.fit import Choice, Fit, fit_of
from policies.text.memory.shape import Shape, shape_of
from policies.text.settings import ModelSettings, TextSettings
from policies.text.token_budget import by_card, card_bytes

GB = 1_000_000_000
LEAST_PLANNED_FILE = 500_000_000  # bytes of a GGUF file: of a billion weights in four bits
TRIED_PROBLEMS = 8  # of each task, whose longest prompt is planned for
LETTERS_A_TOKEN = 3  # fewer than most texts have, so that the plan is rather too long
TEMPLATE_TOKENS = 32  # that a chat template puts round a prompt
PARTS = {
    "weights": "weights, and those of an adapter",
    "copy": "working copy that sampling reads",
    "optimiser": "optimiser's state",
    "overhead": "what the driver takes for itself",
    "gradients": "gradients, in the update",
    "activations": "activations of one micro-batch, in the update",
    "update_logits": "logits, in the update",
    "keys_and_values": "keys and values, in sampling",
    "sampling_logits": "logits and scores, in sampling",
}


def plan_memory(config: Config, device: torch.device, free: int | None = None) -> Fit | None:
    """The plan of a pretrained text policy on `device`; None for others. `free`: bytes, None: what is free now.

    Raises PolicyError for a model that cannot be had.
    """
    policy = config.policy
    if not isinstance(policy, TextPolicyConfig):
        return None
    cuda = device.type == "cuda"
    settings: TextSettings = policy.settled(rounds=config.rounds, bfloat16=has_bfloat16(device))
    library = read_configuration(policy.model)

    @cache
    def shaper(model: ModelSettings) -> Shape:
        return shape_of(library, model, autocast=settings.trainer.bf16 is True)

    if cuda and settings.trainer.token_budget == "auto":
        build = model_size(shaper(policy.model), policy.model)
        settings = by_card(settings, build, card_bytes(device))
    choice = Choice(policy.model, settings, load_of(config))
    return fit_of(choice, free_bytes(device) if free is None else free, shaper, cuda=cuda)


def require_memory(config: Config, device: torch.device) -> None:
    """Raises PolicyError, with the smallest change that would fit, for a run that cannot fit whatever it halves.

    A plan that is only too large for its micro-batches is no reason: the update halves them by itself.
    """
    policy = config.policy
    if not isinstance(policy, TextPolicyConfig) or _is_small_file(policy.model.path):
        return
    free = free_bytes(device)
    least = policy.trainer.model_copy(update={"token_budget": 1})
    halved = config.model_copy(update={"policy": policy.model_copy(update={"trainer": least})})
    fit = plan_memory(halved, device, free)
    if fit is not None and not fit.fits:
        raise PolicyError(f"{policy.model.path} does not fit: {in_words(fit)}")


def _is_small_file(path: str) -> bool:
    """Whether its configuration takes as long to read as its weights, and nothing is lost by trying them."""
    file = Path(resolve(path))
    return is_gguf(file.name) and file.is_file() and file.stat().st_size < LEAST_PLANNED_FILE


def load_of(config: Config) -> Load:
    """What a round asks for, from the tasks' own prompts."""
    policy = config.policy
    assert isinstance(policy, TextPolicyConfig | EmbeddedPolicyConfig)
    prompt = policy.prompt
    round_it = (prompt.system or "") + "".join(shown.question + shown.answer for shown in prompt.examples)
    letters = 0
    for task in config.tasks:
        try:
            made = build_task(task.spec)
        except TaskError:  # its package or its file is not here
            continue
        letters = max(letters, *(len(made.problem(seed).prompt) for seed in range(TRIED_PROBLEMS)))
    return Load(
        prompts=config.sampler.local,
        group=trained_rollouts(config.strategy),
        prompt_tokens=(letters + len(round_it)) // LETTERS_A_TOKEN + TEMPLATE_TOKENS,
        new_tokens=policy.generation.max_new_tokens,
    )


def as_plain(fit: Fit) -> dict[str, object]:
    """The plan as plain values, in bytes."""
    found = fit.estimate
    sums = {"update": found.update, "sampling": found.sampling, "peak": found.peak}
    return {**asdict(found), **sums, "free": fit.free, "fits": fit.fits, "remedy": fit.remedy}


def in_words(fit: Fit) -> str:
    """One line: the most at once, its parts, and what to change where it does not fit."""
    found = fit.estimate
    parts = ", ".join(f"{name.replace('_', ' ')} {size / GB:.2f}" for name, size in parts_of(found).items())
    line = f"{found.peak / GB:.2f} GB at most of {fit.free / GB:.2f} GB free ({parts})"
    return line if fit.fits else f"{line}; {remedy_of(fit)}"


def remedy_of(fit: Fit) -> str:
    return (
        f"set {fit.remedy}"
        if fit.remedy
        else "no setting makes it fit: choose a smaller model or a larger device"
    )


def in_lines(fit: Fit, device: torch.device) -> list[str]:
    """The plan as a table: a line each for its parts, the most at once, and what is free."""
    found = fit.estimate
    lines = [f"{size / GB:9.2f} GB  {PARTS[name]}" for name, size in parts_of(found).items()]
    lines += [
        f"{found.peak / GB:9.2f} GB  at most at once: what stays, and the larger of update and sampling",
        f"{fit.free / GB:9.2f} GB  free on {device}",
        f"{found.slots} rollouts in flight; micro-batches of {found.update_tokens} tokens",
    ]
    if found.guessed:
        lines.append("activations are a guess: this model's passes cannot be counted without its weights")
    return [*lines, "it fits" if fit.fits else f"it does not fit: {remedy_of(fit)}"]


def parts_of(found: Estimate) -> dict[str, int]:
    """The parts that are there, in bytes, in the order of `PARTS`."""
    sizes = asdict(found)
    return {name: sizes[name] for name in PARTS if sizes[name]}
