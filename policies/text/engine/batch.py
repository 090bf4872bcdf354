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

# Tokens of a step on a GPU between two looks at which rollouts have ended: each look waits for the device.
AHEAD = 4
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

    def install(self, decoder: Decoder, step: Step, slots: int, ahead: int = 1) -> None:
        """Goes on with these tables, which are empty: sequences in flight go back to the head of the queue.

        `ahead`: tokens of every sequence that are drawn before any is looked at.
        """
        self.waiting.extendleft(reversed(self.running))
        self.running = []
        self._grid = None
        for sequence in self.sequences:
            sequence.prompt.running, sequence.prompt.place, sequence.prompt.logits = 0, None, None
        self._decoder, self._step, self._slots, self._ahead = decoder, step, slots, ahead
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
        """Some more tokens for every sequence in flight. What is drawn behind a sequence's end is dropped.

        A draw is a function of its rollout and place, so that how many are drawn at once changes none of them.
        """
        fed = [(s.ids[-1], len(s.ids) - 1, s.request.key, s.request.max_new_tokens - 1) for s in self.running]
        tokens, columns, keys, last = _uploaded(fed, self._decoder.device)
        longest = max(len(sequence.ids) for sequence in self.running)
        most = max(sequence.request.max_new_tokens - len(sequence.ids) for sequence in self.running)
        drawn = []
        for place in range(min(self._ahead, most)):
            width = min(longest + place, self._decoder.rollouts.width)
            logits = self._step(tokens, columns, self._current_grid(), width)
            tokens, logprobs = choose(logits, keys, columns + 1, self._sampling)
            drawn.append(torch.stack((tokens.float(), logprobs.float())))
            columns = torch.minimum(columns + 1, last)  # rows that have ended stay inside the table
        self.work.decode_steps += len(drawn)
        self.work.decode_rows += len(drawn) * len(self.running)
        self._record(self.running, torch.stack(drawn))
        self._remove_finished()

    def draw(self, sequences: Sequence[SequenceState], logits: torch.Tensor) -> torch.Tensor:
        """One token for each of `sequences` from its logits (n, V), recorded in them; returns them, (n,)."""
        keys, positions = _uploaded([(s.request.key, len(s.ids)) for s in sequences], logits.device)
        drawn, logprobs = choose(logits, keys, positions, self._sampling)
        self._record(sequences, torch.stack((drawn.float(), logprobs.float()))[None])
        return drawn

    def _record(self, sequences: Sequence[SequenceState], drawn: torch.Tensor) -> None:
        """`drawn` (tokens, 2, n): numbers, which float32 holds, and log-probs. Read back at once: it waits for the
        device."""
        for tokens, logprobs in drawn.tolist():
            for sequence, token, logprob in zip(sequences, map(int, tokens), logprobs, strict=True):
                if sequence.finish is Finish.UNFINISHED:
                    self._append(sequence, token, logprob)

    def _append(self, sequence: SequenceState, token: int, logprob: float) -> None:
        sequence.ids.append(token)
        sequence.logprobs.append(logprob)
        if token in self._eos_ids or (self._ended is not None and self._ended(sequence.ids)):
            sequence.finish = Finish.STOP
        elif len(sequence.ids) >= sequence.request.max_new_tokens:
            sequence.finish = Finish.LENGTH
        if sequence.finish is not Finish.UNFINISHED:
            self._finished.append(sequence.index)

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


def _uploaded(rows: Sequence[tuple[int, ...]], device: torch.device) -> torch.Tensor:
    """A tensor (k, n) of n rows of k numbers, in one copy to the device."""
    return torch.tensor(rows).T.contiguous().to(device, non_blocking=True)


def _logits_of(prompt: Prompt) -> torch.Tensor:
    assert prompt.logits is not None
    return prompt.logits
