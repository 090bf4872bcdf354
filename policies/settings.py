"""The base of every settings class: a frozen value that refuses keys it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from policies.setting_words import words_of

LARGEST = 2**63 - 1  # whole number that torch, SQLite and numpy all hold
# Of seconds, a lock can be waited for no longer; of anything else, float32 holds its square.
LARGEST_FRACTION = 1e9
SMALLEST_FRACTION = 1e-30  # above 0: float32 holds what is divided by it


class Settings(BaseModel):
    """Frozen. Refuses keys it does not know, and numbers that are not finite or that no library reckons with."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _fits(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"must be at most {LARGEST}; it is {value:.3e}")
        if isinstance(value, float) and abs(value) > LARGEST_FRACTION:
            raise ValueError(f"must be at most {LARGEST_FRACTION:g}; it is {value:g}")
        if isinstance(value, float) and 0 < abs(value) < SMALLEST_FRACTION:
            raise ValueError(f"must be 0, or at least {SMALLEST_FRACTION:g}; it is {value:g}")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("has a zero character, which no path or name can have: leave it out")
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Puts each key's words into its part of the schema."""
        schema = handler(core_schema)
        keys = handler.resolve_ref_schema(schema).get("properties", {})
        for name, words in words_of(cls).items():
            if name in keys:
                keys[name].setdefault("description", words)
        return schema


def own_path(path: str) -> Path:
    """With the home folder in place of `~`. Raises OSError where that of another user is meant, and there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise OSError(
            f"{path} begins with a home folder that this machine does not know: write the path out"
        ) from None


def absolute_if_local(path: str) -> str:
    """The absolute path of a file or folder; names of hub repositories and packages pass through.

    A path that is there, or is written as only paths are (`./x`, `~/x`, `/x`), is a file's or folder's.
    """
    local = own_path(path)
    return str(local.absolute()) if path.startswith((".", "~", "/")) or local.exists() else path
