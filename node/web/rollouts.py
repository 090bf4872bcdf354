"""The page's rollouts: a query string read within bounds, and what it finds as plain data with harmless texts."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from node.storage.rollout_history import RolloutHistory
from node.storage.rollout_rows import KeptRollout, Order, RefusedGroup, RolloutQuery, verdict_named
from node.ui.inspect.empty_answer import why_no_rollouts, why_nothing_refused
from node.ui.inspect.png import png_of
from node.web.errors import QueryError
from node.web.figures import finite
from swarm.limits import MAX_ROLLOUTS
from swarm.visible_text import visible

SHOWN: Final = 40  # rollouts or refused groups of a page of them: some ten groups
SHOWN_CHARACTERS: Final = 4_000  # of a text
MAX_QUERY: Final = 512  # characters of a query string
MAX_ROUND: Final = 10**9
MAX_ID: Final = 2**63 - 1
MAX_PAGE: Final = 10**6
FILTERS: Final = frozenset(
    {"kind", "order", "reward", "verdict", "round", "task", "seed", "peer", "id", "page"}
)
KINDS: Final[Mapping[str, bool | None]] = {"all": None, "own": False, "external": True, "refused": None}
REWARDS: Final[Mapping[str, bool | None]] = {"any": None, "right": True, "wrong": False}
ORDERS: Final[Mapping[str, Order]] = {"newest": "newest", "best": "best", "worst": "worst"}


def look_up(store: Path, query_string: str) -> dict[str, Any]:
    """What FILTERS find, of how many that fit, and why it is nothing where it is. Raises QueryError, StoreError."""
    given, history = fields_of(query_string, FILTERS), RolloutHistory(store)
    kind, query = given.get("kind", "all"), _query(given)
    found: dict[str, Any] = {
        "rollouts": [],
        "refused": [],
        "holdings": asdict(history.holdings()),
        "why": "",
        "size": SHOWN,
    }
    if kind == "refused":
        found["refused"] = [plain_refused(each) for each in history.refused(query)]
        found["fitting"] = history.refused_fitting(query)
        found["why"] = "" if found["fitting"] else why_nothing_refused(store, query)
    elif "id" in given:
        one = history.get(number_of(given["id"], MAX_ID))
        group = [] if one is None else _with_group(history, one)
        found["rollouts"] = [_rollout(each) for each in group[query.skip : query.skip + SHOWN]]
        found["fitting"] = len(group)
        found["why"] = "" if one else f"No rollout {given['id']} is kept."
    else:
        found["rollouts"] = [_rollout(each) for each in history.find(query)]
        found["fitting"] = history.fitting(query)
        found["why"] = "" if found["fitting"] else why_no_rollouts(store, query)
    return found


def image_file(store: Path, query_string: str) -> bytes | None:
    """The PNG of rollout `id`; None where there is none. Raises QueryError, StoreError."""
    given = fields_of(query_string, {"id"})
    image = RolloutHistory(store).image(number_of(given.get("id", ""), MAX_ID))
    return None if image is None else png_of(image)


def _with_group(history: RolloutHistory, one: KeptRollout) -> list[KeptRollout]:
    """A rollout first, and then the others of its group."""
    group = history.find(RolloutQuery(group=one.group, limit=MAX_ROLLOUTS))
    return [one, *sorted((each for each in group if each.id != one.id), key=lambda each: each.id)]


def fields_of(query_string: str, known: Set[str]) -> dict[str, str]:
    """Each key once, those without a value left out. Raises QueryError."""
    if len(query_string) > MAX_QUERY:
        raise QueryError(f"a query string of over {MAX_QUERY} characters")
    try:
        pairs = parse_qsl(query_string, max_num_fields=len(FILTERS), strict_parsing=bool(query_string), errors="strict",
                          keep_blank_values=True)  # fmt: skip
    except ValueError as error:
        raise QueryError("not a query string") from error
    if len(dict(pairs)) != len(pairs) or not set(dict(pairs)) <= known:
        raise QueryError(f"known are {', '.join(sorted(known))}, each once")
    return {key: value for key, value in pairs if value}


def _query(given: Mapping[str, str]) -> RolloutQuery:
    kind, order, reward = given.get("kind", "all"), given.get("order", "newest"), given.get("reward", "any")
    for name, value, known in (("kind", kind, KINDS), ("order", order, ORDERS), ("reward", reward, REWARDS)):
        if value not in known:
            raise QueryError(f"{name} is one of {', '.join(known)}")
    return RolloutQuery(
        round=number_of(given["round"], MAX_ROUND) if "round" in given else None,
        task=given.get("task"),
        peer=given["peer"].lstrip("…") or None if "peer" in given else None,
        seed=number_of(given["seed"], MAX_ID) if "seed" in given else None,
        external=KINDS[kind],
        right=REWARDS[reward],
        verdict=verdict_named(given["verdict"]) if "verdict" in given else None,
        order=ORDERS[order],
        limit=SHOWN,
        skip=SHOWN * (page_of(given, "page") - 1),
    )


def number_of(text: str, largest: int) -> int:
    """Raises QueryError."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= largest):
        raise QueryError("round, seed, id and pages are numbers")
    return int(text)


def page_of(given: Mapping[str, str], name: str) -> int:
    """Which page of a list is asked for, from 1 on: the first unless told. Raises QueryError."""
    page = number_of(given.get(name, "1"), MAX_PAGE)
    if not page:
        raise QueryError("pages are counted from 1")
    return page


def _rollout(rollout: KeptRollout) -> dict[str, Any]:
    """Everything that a stranger wrote is made visible and cut; figures that are not finite become None."""
    plain = asdict(rollout)
    for name in ("task", "text", "prompt", "answer", "origin", "reason"):
        plain[name] = None if plain[name] is None else visible(plain[name], SHOWN_CHARACTERS)
    for name in ("reward", "advantage"):
        plain[name] = finite(plain[name])
    return plain | {"cut": rollout.cut}


def plain_refused(refused: RefusedGroup) -> dict[str, Any]:
    plain = asdict(refused)
    return {
        name: visible(value, SHOWN_CHARACTERS, lines=False) if isinstance(value, str) else value
        for name, value in plain.items()
    }
