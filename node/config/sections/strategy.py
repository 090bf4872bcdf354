"""The `[strategy]` section: how rollouts are made. The keys of each kind are in `policies/strategies/settings.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Tag

from node.config.sections.variant import type_or
from policies.strategies.settings import AprilSettings, BrorlSettings, DarsSettings, GrpoSettings

StrategyConfig = Annotated[
    Annotated[GrpoSettings, Tag("grpo")]
    | Annotated[BrorlSettings, Tag("brorl")]
    | Annotated[DarsSettings, Tag("dars")]
    | Annotated[AprilSettings, Tag("april")],
    type_or("grpo"),
]
