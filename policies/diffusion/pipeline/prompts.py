"""Prompts as a pipeline's network sees them: each read once, kept in CPU memory, put together by rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import torch

from policies.diffusion.pipeline.call import PipelineCall, Reply
from policies.policy import PolicyError

Place = Literal["keep", "offload", "drop"]
Embedding = tuple[Reply, ...]  # one reply for each `encode_prompt` of the pipeline's call


class Prompts:
    """Reads prompts through a pipeline's text encoders and remembers them.

    Takes the text encoders out of the pipeline; they come back to it only while prompts are read. `place` says
    where they wait meanwhile, `most` how many embeddings are remembered (with `drop`, all).
    """

    def __init__(self, pipe: Any, call: PipelineCall, device: torch.device, place: Place, most: int) -> None:
        self._pipe = pipe
        self._call = call
        self._device = device
        self._place = place
        self._most = most
        self._known: OrderedDict[str, Embedding] = OrderedDict()
        self._encoders = _take_encoders(pipe)
        self._dropped = False
        self._put_away()

    def prepare(self, prompts: Sequence[str]) -> None:
        """Reads prompts ahead of their use. With `drop`, the text encoders are then freed, for good."""
        self.know(prompts)
        if self._place == "drop":
            self._encoders.clear()
            self._dropped = True

    def know(self, prompts: Sequence[str]) -> None:
        """Reads those that are not known. Raises PolicyError when the text encoders are gone."""
        wanted = dict.fromkeys(prompts)
        new = [prompt for prompt in wanted if prompt not in self._known]
        if new and self._dropped:
            raise PolicyError(
                f"the prompt {new[0]!r} was not among those read at the start, and the text encoders are gone: "
                "set text_encoders to offload or keep"
            )
        if new:
            self._read(new)
        for prompt in wanted:
            self._known.move_to_end(prompt)
        while self._place != "drop" and len(self._known) > max(self._most, len(wanted)):
            self._known.popitem(last=False)

    def shape(self, prompt: str) -> Hashable:
        """Of a known prompt: equal for prompts that can share a batch."""
        return tuple(
            tuple(None if part is None else tuple(part.shape) for part in _parts(reply))
            for reply in self._known[prompt]
        )

    def replies(self, prompts: Sequence[str]) -> list[Reply]:
        """For rows of known prompts of one shape: the replies in order of the pipeline's asking, on the device."""
        distinct = list(dict.fromkeys(prompts))
        row_of = {prompt: row for row, prompt in enumerate(distinct)}
        rows = torch.tensor([row_of[prompt] for prompt in prompts], device=self._device)
        embeddings = [self._known[prompt] for prompt in distinct]
        return [self._together(replies, rows) for replies in zip(*embeddings, strict=True)]

    def fillers(self, rows: int) -> list[Reply]:
        """Replies for a call that does not look at them."""
        return self.replies([next(reversed(self._known))] * rows)

    def _read(self, prompts: Sequence[str]) -> None:
        for encoder in self._encoders.values():
            encoder.to(self._device)
        self._pipe.register_modules(**self._encoders)
        try:
            for prompt in prompts:
                self._remember(prompt, self._call.read(prompt))
        finally:
            self._pipe.register_modules(**dict.fromkeys(self._encoders))
            self._put_away()

    def _remember(self, prompt: str, replies: Embedding) -> None:
        """What a prompt has in common with the first (an empty negative, position ids) is kept once."""
        first = next(iter(self._known.values()), replies)
        self._known[prompt] = tuple(
            _like(reply, [_shared(*pair) for pair in zip(_parts(reply), _parts(other), strict=True)])
            for reply, other in zip(replies, first, strict=True)
        )

    def _put_away(self) -> None:
        if self._place != "keep":
            for encoder in self._encoders.values():
                encoder.to("cpu")

    def _together(self, replies: Sequence[Reply], rows: torch.Tensor) -> Reply:
        slots = zip(*(_parts(reply) for reply in replies), strict=True)
        return _like(replies[0], [self._slot(slot, rows) for slot in slots])

    def _slot(self, values: Sequence[torch.Tensor | None], rows: torch.Tensor) -> torch.Tensor | None:
        tensors = [value for value in values if value is not None]
        if not tensors:
            return None
        if len(tensors[0]) == 1:
            return torch.cat(tensors).to(self._device)[rows]
        # No dimension of rows: position ids, and the like.
        if not all(torch.equal(tensor, tensors[0]) for tensor in tensors):
            raise PolicyError(
                f"{type(self._pipe).__name__} reads prompts into tensors that cannot share a batch"
            )
        return tensors[0].to(self._device)


def _take_encoders(pipe: Any) -> dict[str, torch.nn.Module]:
    encoders = {
        name: part
        for name, part in pipe.components.items()
        if name.startswith("text_encoder") and isinstance(part, torch.nn.Module)
    }
    for encoder in encoders.values():
        encoder.requires_grad_(False).eval()
    pipe.register_modules(**dict.fromkeys(encoders))
    return encoders


def _parts(reply: Reply) -> tuple[torch.Tensor | None, ...]:
    return reply if isinstance(reply, tuple) else (reply,)


def _like(reply: Reply, parts: Sequence[torch.Tensor | None]) -> Reply:
    """The parts in the form of `reply`: a tuple, or the one tensor alone."""
    if isinstance(reply, tuple):
        return tuple(parts)
    (part,) = parts
    assert part is not None
    return part


def _shared(part: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    """`part` in CPU memory, or `other` where that holds the same."""
    if part is None:
        return None
    part = part.detach().cpu()
    same = other is not None and part.dtype == other.dtype and torch.equal(part, other.cpu())
    return other.cpu() if same and other is not None else part
