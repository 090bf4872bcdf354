"""Any pipeline of diffusers as a `Denoiser`: one step of its own call; with its adapter off, the reference."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from policies.diffusion.denoiser import Prediction, Schedule
from policies.diffusion.pipeline.call import PipelineCall
from policies.diffusion.pipeline.latents import encode_images, fitted
from policies.diffusion.pipeline.levels import Levels, Parametrisation, parametrisation_of
from policies.diffusion.pipeline.lora import attach_lora, without_adapters
from policies.diffusion.pipeline.prompts import Prompts
from policies.diffusion.pipeline.settings import PipelineSettings
from policies.policy import PolicyError


class PipelineDenoiser:
    """See `policies.diffusion.denoiser.Denoiser`. Owns `pipe`, whose network is the policy. Not thread-safe.

    The network stays in eval mode. Latents are float32 outside it whatever it computes in. Construction
    evaluates the network once. Raises PolicyError for a pipeline that cannot be adapted.
    """

    def __init__(self, pipe: Any, settings: PipelineSettings, device: torch.device, seed: int = 0) -> None:
        self._pipe = pipe
        self._decode_batch = settings.decode_batch
        self._size = (settings.height, settings.width)
        self._network = network_of(pipe)
        if parametrisation_of(pipe.scheduler) is not Parametrisation.FLOW:
            pipe.scheduler = _ddim_like(pipe.scheduler)
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).eval()
        self._call = PipelineCall(pipe, _arguments(pipe, self._network, settings), _negative(pipe, settings))
        self._prompts = Prompts(pipe, self._call, device, settings.text_encoders, settings.cached_prompts)
        pipe.to(device)
        self._prompts.know([""])
        probe = self._call.probe(self._prompts.replies([""]), settings.steps)
        if probe.output.shape != probe.sample.shape:
            raise PolicyError(
                f"the network of {type(pipe).__name__} gives {tuple(probe.output.shape)} for latents "
                f"{tuple(probe.sample.shape)}: one that predicts variances too cannot be adapted"
            )
        self._levels = Levels(pipe.scheduler, probe.timesteps)
        self._shape = tuple(probe.sample.shape[1:])
        self._device, self._dtype = device, getattr(torch, settings.dtype)
        self._whole = settings.lora is None
        if settings.lora is None:
            self._network.requires_grad_(True)
        else:
            attach_lora(self._network, settings.lora, seed)
        if settings.gradient_checkpointing:
            _checkpoint(self._network)

    @property
    def schedule(self) -> Schedule:
        return self._levels.schedule

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def module(self) -> torch.nn.Module:
        return self._network

    @property
    def parametrisation(self) -> Parametrisation:
        """What the network predicts."""
        return self._levels.parametrisation

    def prepare(self, prompts: Sequence[str]) -> None:
        """Reads prompts ahead of their use; with `text_encoders = "drop"` these are all there will ever be."""
        self._prompts.prepare(prompts)

    def output(self, latents: torch.Tensor, step: int, prompts: Sequence[str]) -> torch.Tensor:
        """What the pipeline itself would give its scheduler at point `step`, guidance included; its own type."""
        timestep, noise = self._levels.timesteps[step], self.schedule.noise[step]
        return self._evaluate(latents, [(timestep, noise)] * len(latents), prompts)

    def predict(self, latents: torch.Tensor, step: int, prompts: Sequence[str]) -> Prediction:
        output = self.output(latents, step, prompts)
        signal, noise = self.schedule.signal[step], self.schedule.noise[step]
        return self._prediction(output, latents, [signal] * len(latents), [noise] * len(latents))

    def predict_at(
        self, latents: torch.Tensor, noise_level: torch.Tensor, prompts: Sequence[str]
    ) -> Prediction:
        """Rows of one level share an evaluation of the network: a pipeline's call knows one timestep only."""
        levels = [self._levels.nearest(float(level)) for level in noise_level]
        output = self._evaluate(latents, [(timestep, noise) for timestep, _, noise in levels], prompts)
        signals = [signal for _, signal, _ in levels]
        return self._prediction(output, latents, signals, [noise for _, _, noise in levels])

    def reference(self) -> AbstractContextManager[None]:
        """Raises PolicyError where all weights are trained: there is no reference to go back to."""
        if self._whole:
            raise PolicyError("a reference policy needs an adapter: set lora, or train without a reference")
        return without_adapters(self._network)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Grey or coloured images of any size: peers may draw larger. See `encode_images`."""
        images = fitted(images.to(self._device), self._size)
        pieces = torch.split(images, self._decode_batch)
        return torch.cat([encode_images(self._pipe, piece, self._shape) for piece in pieces])

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """By the pipeline's own code; without gradients. Raises PolicyError for a pipeline that gives a video."""
        pieces = torch.split(latents.to(self._device, self._pipe.vae.dtype), self._decode_batch)
        return torch.cat([self._images(piece) for piece in pieces])

    def _images(self, latents: torch.Tensor) -> torch.Tensor:
        finished = self._call.finish(self._prompts.fillers(len(latents)), latents).float()
        if finished.dim() == 5:
            if finished.shape[1] != 1:
                raise PolicyError(
                    f"{type(self._pipe).__name__} gives {finished.shape[1]} frames, not an image: "
                    "set call.num_frames to 1"
                )
            finished = finished[:, 0]
        return finished * 2.0 - 1.0

    def _evaluate(
        self, latents: torch.Tensor, levels: Sequence[tuple[torch.Tensor, float]], prompts: Sequence[str]
    ) -> torch.Tensor:
        """The network's output for rows of any levels and prompts: one call for rows that can share one."""
        # Most pipelines round the latents themselves; some leave that to whoever gives latents.
        latents = latents.to(self._device, self._dtype)
        self._prompts.know(prompts)
        calls: defaultdict[Any, list[int]] = defaultdict(list)
        for row, ((_, noise), prompt) in enumerate(zip(levels, prompts, strict=True)):
            calls[noise, self._prompts.shape(prompt)].append(row)
        if len(calls) == 1:
            return self._call.evaluate(self._prompts.replies(prompts), latents, *levels[0])
        outputs, order = [], []
        for rows in calls.values():
            replies = self._prompts.replies([prompts[row] for row in rows])
            outputs.append(self._call.evaluate(replies, latents[rows], *levels[rows[0]]))
            order.extend(rows)
        return torch.cat(outputs)[torch.tensor(order, device=self._device).argsort()]

    def _prediction(
        self, output: torch.Tensor, latents: torch.Tensor, signal: Sequence[float], noise: Sequence[float]
    ) -> Prediction:
        wanted = torch.is_grad_enabled() and any(p.requires_grad for p in self._network.parameters())
        if wanted and not output.requires_grad:
            raise PolicyError(
                f"{type(self._pipe).__name__} lets no gradient through its call: this pipeline cannot be trained"
            )
        levels = [torch.tensor(values, device=self._device) for values in (signal, noise)]
        return self._levels.prediction(output, latents.to(self._device), *levels)


def network_of(pipe: Any) -> torch.nn.Module:
    """The denoising network: the pipeline's one transformer or U-Net. Raises PolicyError for more or none."""
    names = ("transformer", "unet", "transformer_2", "unet_2")
    found = [part for name in names if isinstance(part := getattr(pipe, name, None), torch.nn.Module)]
    if len(found) != 1:
        raise PolicyError(
            f"{type(pipe).__name__} has {len(found)} denoising networks, and a policy is one: "
            "choose a pipeline with one transformer or unet"
        )
    return found[0]


def _arguments(pipe: Any, network: torch.nn.Module, settings: PipelineSettings) -> dict[str, Any]:
    """The fixed arguments of the pipeline's call, those that it knows."""
    known = inspect.signature(type(pipe).__call__).parameters
    needed = ("prompt", "latents", "height", "width", "num_inference_steps", "output_type", "return_dict")
    missing = [name for name in (*needed, *settings.call) if name not in known]
    if missing or not hasattr(pipe, "encode_prompt"):
        raise PolicyError(
            f"{type(pipe).__name__} does not take {', '.join(missing) or 'prompts by encode_prompt'}: "
            "this pipeline, or this key of call, cannot be used"
        )
    given: dict[str, Any] = {"height": settings.height, "width": settings.width}
    # One frame is an image; binning would change the size that was asked for.
    usual = {"num_frames": 1, "use_resolution_binning": False}
    given |= {name: value for name, value in usual.items() if name in known}
    if settings.guidance is not None:
        given[_guidance_name(pipe, network, known)] = settings.guidance
    return given | settings.call


def _negative(pipe: Any, settings: PipelineSettings) -> str | None:
    """None where no second pass was asked for: pipelines warn of negative prompts that they do not use."""
    known = "negative_prompt" in inspect.signature(type(pipe).__call__).parameters
    unused = settings.guidance is not None and settings.guidance <= 1.0
    return settings.negative_prompt if known and not unused else None


def _guidance_name(pipe: Any, network: torch.nn.Module, known: Any) -> str:
    """Networks that were distilled with guidance read its scale; the others are evaluated twice."""
    embedded = bool(getattr(network.config, "guidance_embeds", False))
    name = "true_cfg_scale" if "true_cfg_scale" in known and not embedded else "guidance_scale"
    if name not in known:
        raise PolicyError(f"{type(pipe).__name__} knows no guidance: leave the key out")
    return name


def _ddim_like(scheduler: Any) -> Any:
    """The same noise levels on DDIM's timesteps: samplers of other kinds scale latents or repeat steps."""
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(scheduler.config)


def _checkpoint(network: Any) -> None:
    try:
        network.enable_gradient_checkpointing()
    except (AttributeError, ValueError) as error:
        raise PolicyError(
            f"{type(network).__name__} cannot recompute its activations: set gradient_checkpointing = false"
        ) from error
