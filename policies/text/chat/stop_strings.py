"""Stop strings: texts that end a completion, for models that write no token for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


class StopStrings:
    """Which completions have come to one of some texts. Looks at no more than the end of what is written."""

    def __init__(self, strings: Sequence[str], decode: Decode) -> None:
        self.strings = tuple(strings)
        self._decode = decode
        # A token has a byte at least; some more for what decoding makes of a cut character or a leading blank.
        self._tail = max(len(text.encode()) for text in strings) + 8 if strings else 0
        self._last = {text[-1] for text in strings}
        self._ending: dict[int, bool] = {}  # token -> whether a string could end with it

    def __bool__(self) -> bool:
        return bool(self.strings)

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether the last of the tokens completes a string."""
        last = ids[-1]
        if last not in self._ending:
            text = self._decode([last])
            # Part of a character may complete it: such a token is always looked at.
            self._ending[last] = "\N{REPLACEMENT CHARACTER}" in text or not self._last.isdisjoint(text)
        return self._ending[last] and self._found(self._decode(ids[-self._tail :])) is not None

    def before(self, text: str) -> str:
        """The text up to the first of them."""
        found = self._found(text)
        return text if found is None else text[:found]

    def _found(self, text: str) -> int | None:
        places = [place for string in self.strings if (place := text.find(string)) >= 0]
        return min(places, default=None)
