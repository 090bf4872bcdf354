"""One call of the engine: a queue of requests, the rows in flight, and the moves between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from policies.rollout import Finish
from policies.text.engine.attention import Seating
from policies.text.engine.decoder import Decoder, Step
from policies.text.engine.memory import passes
from policies.text.engine.prompt_table import Prompt, PromptTable
from policies.text.engine.request import Continuation, Request, Sampling
from policies.text.engine.sampling import choose


@dataclass(slots=True)
class Row:
    """A request on its way."""

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


class Call:
    """Rows 0 to len(live) of the rollouts' table belong to `live`, in its order."""

    def __init__(self, requests: Sequence[Request], eos_ids: Collection[int], sampling: Sampling) -> None:
        prompts: dict[tuple[int, ...], Prompt] = {}
        self.rows: list[Row] = []
        for index, request in enumerate(requests):
            prompt = prompts.setdefault(request.prompt_ids, Prompt(request.prompt_ids))
            prompt.pending += 1
            self.rows.append(Row(index, request, prompt, list(request.begun_ids)))
        self.waiting: deque[Row] = deque(self.rows)
        self.live: list[Row] = []
        self.work = Work()
        self._eos_ids = eos_ids
        self._sampling = sampling
        self._finished: list[int] = []
        self._seating: Seating | None = None

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting or self.live)

    def take_finished(self) -> list[int]:
        """Indices of the requests that have finished since this was last asked."""
        taken, self._finished = self._finished, []
        return taken

    def install(self, decoder: Decoder, step: Step, slots: int) -> None:
        """Goes on with these tables, which are empty: rows in flight go back to the head of the queue."""
        self.waiting.extendleft(reversed(self.live))
        self.live = []
        self._seating = None
        for row in self.rows:
            row.prompt.live, row.prompt.place, row.prompt.logits = 0, None, None
        self._decoder, self._step, self._slots = decoder, step, slots
        self._shelf = PromptTable(decoder)

    def admit(self) -> None:
        """Fills free rows from the queue. First tokens are drawn from their prompts' logits, so that rows
        without a past cost nothing here."""
        while self.waiting and len(self.live) < self._slots:
            free = self._slots - len(self.live)
            entering = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
            first = len(self.live)
            self.live.extend(entering)  # before anything can run out of memory: `install` finds them here
            self._seating = None
            self.work.prompt_tokens += self._shelf.put([row.prompt for row in entering])
            for row in entering:
                row.prompt.live += 1
            begun = sorted((row for row in entering if row.ids), key=lambda row: len(row.ids))
            fresh = [row for row in entering if not row.ids]
            self.live[first:] = [*begun, *fresh]
            if begun:
                self._load_begun(begun, first)
            if fresh:
                logits = torch.stack([_logits_of(row.prompt) for row in fresh])
                self.draw(fresh, logits)
                self._dismiss()

    def step(self) -> None:
        """One more token for every row in flight."""
        device = self._decoder.device
        tokens = torch.tensor([row.ids[-1] for row in self.live], device=device)
        columns = torch.tensor([len(row.ids) - 1 for row in self.live], device=device)
        width = max(len(row.ids) for row in self.live)
        logits = self._step(tokens, columns, self._seats(), width)
        self.work.decode_steps += 1
        self.work.decode_rows += len(self.live)
        self.draw(self.live, logits)
        self._dismiss()

    def draw(self, rows: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        """One token for each of `rows` from its logits (n, V), recorded in the rows; returns them, (n,)."""
        keys = torch.tensor([row.request.key for row in rows], device=logits.device)
        positions = torch.tensor([len(row.ids) for row in rows], device=logits.device)
        drawn, values = choose(logits, keys, positions, self._sampling)
        for row, token, logprob in zip(rows, drawn.tolist(), values.tolist(), strict=True):
            row.ids.append(token)
            row.logprobs.append(logprob)
            if token in self._eos_ids:
                row.finish = Finish.STOP
            elif len(row.ids) >= row.request.max_new_tokens:
                row.finish = Finish.LENGTH
            if row.finish is not Finish.UNFINISHED:
                self._finished.append(row.index)
        return drawn

    def _seats(self) -> Seating:
        """Anew only when a row has entered or left."""
        if self._seating is None:
            self._seating = self._seats_of(self.live)
        return self._seating

    def _seats_of(self, rows: Sequence[Row]) -> Seating:
        places = [row.prompt.place for row in rows]
        known = [place for place in places if place is not None]
        assert len(known) == len(rows)
        return Seating.of(known, self._shelf.lengths, self._decoder.device)

    def _load_begun(self, rows: Sequence[Row], first: int) -> None:
        """`rows` by length, from row `first` of the table on."""
        for part in passes([len(row.ids) for row in rows]):
            begun = [tuple(row.ids) for row in rows[part]]
            self._decoder.load_begun(begun, first + part.start, self._seats_of(rows[part]))
            self.work.begun_tokens += sum(map(len, begun))

    def _dismiss(self) -> None:
        """Takes finished rows out of the batch; the last rows move into their places."""
        for place in range(len(self.live) - 1, -1, -1):
            row = self.live[place]
            if row.finish is Finish.UNFINISHED:
                continue
            self._seating = None
            last = self.live.pop()
            if last is not row:
                self._decoder.rollouts.move(len(self.live), place, len(last.ids))
                self.live[place] = last
            row.prompt.live -= 1
            row.prompt.pending -= 1
            if row.prompt.pending == 0:
                self._shelf.remove(row.prompt)


def _logits_of(prompt: Prompt) -> torch.Tensor:
    assert prompt.logits is not None
    return prompt.logits
