"""Words of settings' keys: those right under a key, of the class and of those above it, in schema and template."""

from __future__ import annotations

from policies.setting_words import words_of
from policies.settings import Settings


class Above(Settings):
    """Not a key's words."""

    first: int = 1
    """Of the first.

    And more.
    """
    silent: int = 2

    @property
    def no_key(self) -> int:
        """Not of `silent`."""
        return 0


class Below(Above):
    second: str = ""
    """Of the second."""


def test_words_stand_under_their_keys_and_are_inherited() -> None:
    assert words_of(Above) == {"first": "Of the first.\n\nAnd more."}
    assert words_of(Below) == {"first": "Of the first.\n\nAnd more.", "second": "Of the second."}


def test_a_class_within_a_function_and_one_without_source() -> None:
    class Inner(Settings):
        key: int = 0
        """Within."""

    class Holder(Settings):
        inner: Inner = Inner()
        """Where it is."""

    keys = Holder.model_json_schema()
    assert keys["properties"]["inner"]["description"] == "Where it is."
    assert keys["$defs"]["Inner"]["properties"]["key"]["description"] == "Within."
    assert words_of(type("Made", (Inner,), {"__module__": "nowhere"})) == {"key": "Within."}
