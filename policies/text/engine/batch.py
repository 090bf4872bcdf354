"""The sequences of one engine call: a queue of those that wait, those in flight, and the moves between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from policies.rollout import Finish
from policies.text.engine.attention import SlotGrid
from policies.text.engine.decoder import Decoder, Step
from policies.text.engine.memory_plan import passes
from policies.text.engine.prompt_table import Prompt, PromptTable
from policies.text.engine.request import Continuation, Request, Sampling
from policies.text.engine.sampling import choose

Ended = Callable[[Sequence[int]], bool]  # whether the last of a completion's tokens ends it


@dataclass(slots=True)
class SequenceState:
    """A request and what it has written so far."""

    index: int  # among the call's requests
    request: Request
    prompt: Prompt
    ids: list[int]  # the completion so far
    logprobs: list[float] = field(default_factory=list)  # of the tokens that this call sampled
    finish: Finish = Finish.UNFINISHED

    def continuation(self) -> Continuation:
        new = self.ids[len(self.request.begun_ids) :]
        return Continuation(tuple(new), tuple(self.logprobs), self.finish)


@dataclass(slots=True)
class Work:
    """What a call has computed so far."""

    prompt_tokens: int = 0
    begun_tokens: int = 0
    decode_steps: int = 0
    decode_rows: int = 0  # summed over the steps; over decode_steps it is the mean number of rows at once


class Batch:
    """Rows 0 to len(running) of the rollouts' table belong to `running`, in its order."""

    def __init__(
        self,
        requests: Sequence[Request],
        eos_ids: Collection[int],
        sampling: Sampling,
        ended: Ended | None = None,
    ) -> None:
        prompts: dict[tuple[int, ...], Prompt] = {}
        self.sequences: list[SequenceState] = []
        for index, request in enumerate(requests):
            prompt = prompts.setdefault(request.prompt_ids, Prompt(request.prompt_ids))
            prompt.pending += 1
            self.sequences.append(SequenceState(index, request, prompt, list(request.begun_ids)))
        self.waiting: deque[SequenceState] = deque(self.sequences)
        self.running: list[SequenceState] = []
        self.work = Work()
        self._eos_ids = eos_ids
        self._ended = ended
        self._sampling = sampling
        self._finished: list[int] = []
        self._grid: SlotGrid | None = None

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting or self.running)

    def take_finished(self) -> list[int]:
        """Indices of the requests that have finished since this was last asked."""
        taken, self._finished = self._finished, []
        return taken

    def install(self, decoder: Decoder, step: Step, slots: int) -> None:
        """Goes on with these tables, which are empty: sequences in flight go back to the head of the queue."""
        self.waiting.extendleft(reversed(self.running))
        self.running = []
        self._grid = None
        for sequence in self.sequences:
            sequence.prompt.running, sequence.prompt.place, sequence.prompt.logits = 0, None, None
        self._decoder, self._step, self._slots = decoder, step, slots
        self._prompts = PromptTable(decoder)

    def admit(self) -> None:
        """Fills free slots from the queue. First tokens are drawn from their prompts' logits, so that sequences
        without a past cost nothing here."""
        while self.waiting and len(self.running) < self._slots:
            free = self._slots - len(self.running)
            entering = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
            first = len(self.running)
            self.running.extend(entering)  # before anything can run out of memory: `install` finds them here
            self._grid = None
            self.work.prompt_tokens += self._prompts.put([sequence.prompt for sequence in entering])
            for sequence in entering:
                sequence.prompt.running += 1
            begun = sorted(
                (sequence for sequence in entering if sequence.ids), key=lambda sequence: len(sequence.ids)
            )
            fresh = [sequence for sequence in entering if not sequence.ids]
            self.running[first:] = [*begun, *fresh]
            if begun:
                self._load_begun(begun, first)
            if fresh:
                logits = torch.stack([_logits_of(sequence.prompt) for sequence in fresh])
                self.draw(fresh, logits)
                self._remove_finished()

    def step(self) -> None:
        """One more token for every sequence in flight."""
        fed = [(sequence.ids[-1], len(sequence.ids) - 1) for sequence in self.running]
        tokens, columns = _uploaded(fed, self._decoder.device)
        width = max(len(sequence.ids) for sequence in self.running)
        logits = self._step(tokens, columns, self._current_grid(), width)
        self.work.decode_steps += 1
        self.work.decode_rows += len(self.running)
        self.draw(self.running, logits)
        self._remove_finished()

    def draw(self, sequences: Sequence[SequenceState], logits: torch.Tensor) -> torch.Tensor:
        """One token for each of `sequences` from its logits (n, V), recorded in them; returns them, (n,)."""
        keys, positions = _uploaded([(s.request.key, len(s.ids)) for s in sequences], logits.device)
        drawn, values = choose(logits, keys, positions, self._sampling)
        # Read back at once, as each time waits for the device; float32 holds every token's number.
        told = torch.stack((drawn.float(), values.float())).tolist()
        for sequence, token, logprob in zip(sequences, map(int, told[0]), told[1], strict=True):
            sequence.ids.append(token)
            sequence.logprobs.append(logprob)
            if token in self._eos_ids or (self._ended is not None and self._ended(sequence.ids)):
                sequence.finish = Finish.STOP
            elif len(sequence.ids) >= sequence.request.max_new_tokens:
                sequence.finish = Finish.LENGTH
            if sequence.finish is not Finish.UNFINISHED:
                self._finished.append(sequence.index)
        return drawn

    def _current_grid(self) -> SlotGrid:
        """Made anew only when a sequence has entered or left."""
        if self._grid is None:
            self._grid = self._grid_of(self.running)
        return self._grid

    def _grid_of(self, sequences: Sequence[SequenceState]) -> SlotGrid:
        places = [sequence.prompt.place for sequence in sequences]
        known = [place for place in places if place is not None]
        assert len(known) == len(sequences)
        return SlotGrid.of(known, self._prompts.lengths, self._decoder.device)

    def _load_begun(self, sequences: Sequence[SequenceState], first: int) -> None:
        """`sequences` by length, from row `first` of the table on."""
        for part in passes([len(sequence.ids) for sequence in sequences]):
            begun = [tuple(sequence.ids) for sequence in sequences[part]]
            self._decoder.load_begun(begun, first + part.start, self._grid_of(sequences[part]))
            self.work.begun_tokens += sum(map(len, begun))

    def _remove_finished(self) -> None:
        """Takes finished sequences out of the tables; the last rows move into their places."""
        for place in range(len(self.running) - 1, -1, -1):
            sequence = self.running[place]
            if sequence.finish is Finish.UNFINISHED:
                continue
            self._grid = None
            last = self.running.pop()
            if last is not sequence:
                self._decoder.rollouts.move(len(self.running), place, len(last.ids))
                self.running[place] = last
            sequence.prompt.running -= 1
            sequence.prompt.pending -= 1
            if sequence.prompt.pending == 0:
                self._prompts.remove(sequence.prompt)


def _uploaded(pairs: Sequence[tuple[int, int]], device: torch.device) -> torch.Tensor:
    """(2, n), in one copy to the device."""
    return torch.tensor(pairs).T.contiguous().to(device, non_blocking=True)


def _logits_of(prompt: Prompt) -> torch.Tensor:
    assert prompt.logits is not None
    return prompt.logits
