"""One step of a diffusers pipeline's own `__call__`, so that no family of models needs code of its own.

A pipeline draws its prompt embeddings from `encode_prompt` and gives what the network made of the latents to
its scheduler. With stand-ins in both places one call reads prompts, shows the schedule, evaluates the network
once or decodes latents, and all that lies between (guidance, packing, position ids, scaling of timesteps) is
inference's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from policies.policy import PolicyError

# What one call of `encode_prompt` returned: tensors and None, or one tensor alone.
Reply: TypeAlias = "torch.Tensor | tuple[torch.Tensor | None, ...]"


class _Left(Exception):
    """Carries what the call was made for out of it."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.values = values


class _StandIn:
    """In the scheduler's place: one timestep, or none, and whatever the network makes of it leaves the call."""

    order = 1
    init_noise_sigma = 1.0

    def __init__(self, real: Any, timesteps: torch.Tensor, sigmas: torch.Tensor) -> None:
        self._real = real
        self.timesteps = timesteps
        self.sigmas = sigmas
        self.num_inference_steps = len(timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        """Pipelines look for these names in the signature; the timesteps stay those that were given."""
        self._asked()

    def _asked(self) -> None:
        """A pipeline asks for timesteps once it has read its prompts."""

    def set_begin_index(self, begin_index: int = 0) -> None:
        """There is one step, and it is the first."""

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        return sample

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **_: Any) -> None:
        raise _Left(model_output, sample)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Reader(_StandIn):
    """Ends the call once the prompts are read."""

    def _asked(self) -> None:
        raise _Left


class _Prober(_StandIn):
    """Lets the real scheduler make its timesteps, and ends the call after the first evaluation of the network."""

    def __init__(self, real: Any) -> None:
        super().__init__(real, torch.empty(0), torch.empty(0))
        del self.timesteps, self.sigmas, self.num_inference_steps
        self.set_timesteps = real.set_timesteps  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one evaluation of the network under the pipeline's own schedule shows."""

    timesteps: torch.Tensor  # (T,)
    output: torch.Tensor  # (1, *latent_shape)
    sample: torch.Tensor  # (1, *latent_shape)


class PipelineCall:
    """The call of one pipeline with fixed arguments. Not thread-safe: stand-ins are put into the pipeline.

    `arguments`: keyword arguments of the pipeline's `__call__` beyond prompts, latents and the number of steps.
    `negative`: the negative prompt of every row; None where the pipeline is to know of none.
    """

    def __init__(self, pipe: Any, arguments: dict[str, Any], negative: str | None) -> None:
        self._pipe = pipe
        self._arguments = arguments
        self._negative = negative
        # Without the decorator that switches gradients off; the caller decides on them.
        self._function: Callable[..., Any] = inspect.unwrap(type(pipe).__call__)
        pipe.set_progress_bar_config(disable=True)

    def read(self, prompt: str) -> tuple[Reply, ...]:
        """What each of the call's `encode_prompt` returned for one prompt, in order. Runs the text encoders."""
        replies: list[Reply] = []
        own = self._pipe.encode_prompt

        def spy(*args: Any, **kwargs: Any) -> Any:
            reply = own(*args, **kwargs)
            replies.append(_checked(reply, self._pipe))
            return reply

        reader = _Reader(self._pipe.scheduler, torch.empty(0), torch.empty(0))
        with torch.no_grad():
            self._leave(reader, spy, [prompt])
        return tuple(replies)

    def probe(self, replies: Sequence[Reply], steps: int) -> Probe:
        """One evaluation at the first of `steps` points of the schedule, on latents that the pipeline draws."""
        prober = _Prober(self._pipe.scheduler)
        with torch.no_grad():
            output, sample = self._leave(prober, _replay(replies), [""], steps)
        return Probe(self._pipe.scheduler.timesteps.clone(), output, sample)

    def evaluate(
        self, replies: Sequence[Reply], latents: torch.Tensor, timestep: torch.Tensor, noise: float
    ) -> torch.Tensor:
        """What the pipeline gives its scheduler for `latents` (B, *latent_shape) at one timestep (a scalar)."""
        sigmas = torch.tensor([noise, 0.0], device=latents.device)
        stand_in = _StandIn(self._pipe.scheduler, timestep.reshape(1).to(latents.device), sigmas)
        output, _ = self._leave(stand_in, _replay(replies), [""] * len(latents), latents=latents)
        return torch.as_tensor(output)

    def finish(self, replies: Sequence[Reply], latents: torch.Tensor) -> torch.Tensor:
        """The pipeline's own way from its last latents to images in [0, 1]: a call without timesteps.

        (B, C, H, W), or (B, F, C, H, W) from a pipeline of videos.
        """
        stand_in = _StandIn(self._pipe.scheduler, torch.empty(0), torch.zeros(1))
        with self._standing_in(stand_in, _replay(replies)), torch.no_grad():
            finished = self._run([""] * len(latents), 1, latents=latents, output_type="pt")
        return torch.as_tensor(finished[0])

    def _leave(
        self,
        scheduler: _StandIn,
        encode_prompt: Callable[..., Any],
        prompts: list[str],
        steps: int = 1,
        **given: Any,
    ) -> tuple[Any, ...]:
        """Runs the call until the stand-in leaves it. Raises PolicyError when it comes to its end."""
        with self._standing_in(scheduler, encode_prompt):
            try:
                self._run(prompts, steps, output_type="latent", **given)
            except _Left as left:
                return left.values
        raise PolicyError(f"{type(self._pipe).__name__} never asked its scheduler for a step: not adaptable")

    def _run(self, prompts: list[str], steps: int, **given: Any) -> Any:
        if self._negative is not None:
            given["negative_prompt"] = [self._negative] * len(prompts)
        return self._function(
            self._pipe,
            prompt=prompts,
            num_inference_steps=steps,
            return_dict=False,
            generator=torch.Generator().manual_seed(0),  # what a call draws beside our latents is not used
            **self._arguments,
            **given,
        )

    @contextmanager
    def _standing_in(self, scheduler: _StandIn, encode_prompt: Callable[..., Any]) -> Iterator[None]:
        pipe = self._pipe
        real = pipe.scheduler
        pipe.scheduler, pipe.encode_prompt = scheduler, encode_prompt
        try:
            yield
        finally:
            pipe.scheduler = real
            del pipe.encode_prompt


def _replay(replies: Sequence[Reply]) -> Callable[..., Reply]:
    """In `encode_prompt`'s place: hands out the replies in the order in which they were read."""
    waiting = iter(replies)

    def encode_prompt(*_: Any, **__: Any) -> Reply:
        return next(waiting)

    return encode_prompt


def _checked(reply: Any, pipe: Any) -> Reply:
    parts = reply if isinstance(reply, tuple) else (reply,)
    if not all(part is None or isinstance(part, torch.Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise PolicyError(
            f"{type(pipe).__name__} reads a prompt into ({kinds}), and only tensors can be put into batches: "
            "this pipeline cannot be adapted"
        )
    return parts if isinstance(reply, tuple) else parts[0]
