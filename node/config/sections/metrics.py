"""The `[metrics]` section: where other programs ask how a run goes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from policies.settings import Settings

_PLACE = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+):(?P<port>\d{1,5})")


def host_and_port(place: str) -> tuple[str, int]:
    """`("127.0.0.1", 9464)` of `127.0.0.1:9464`, `("::1", 9464)` of `[::1]:9464`. Raises ValueError."""
    found = _PLACE.fullmatch(place)
    if found is None or int(found["port"]) > 65535:
        raise ValueError("must be HOST:PORT, as in 127.0.0.1:9464 or [::1]:9464")
    return found["host"].strip("[]"), int(found["port"])


def _checked(place: str) -> str:
    if place:
        host_and_port(place)
    return place


class MetricsConfig(Settings):
    """`/metrics` in Prometheus' text format and `/health`, over HTTP. Whoever reaches the address reads them."""

    listen: Annotated[str, AfterValidator(_checked)] = ""
    """HOST:PORT to serve them on, as 127.0.0.1:9464; port 0 takes a free one, told at the start. Empty: served
    nowhere."""
    stale_after: float = Field(default=10.0, gt=1)
    """Median rounds without a new one, half a minute at least, after which /health says `stale`."""
    start_seconds: float = Field(default=1800.0, gt=0)
    """Seconds that loading and the first round may take before /health says `stale`."""
