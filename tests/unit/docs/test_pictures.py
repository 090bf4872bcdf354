"""The architecture page's tree, table and pictures name what is in the tree, all of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "docs" / "generate"))

from pictures import PAGE, floors_of, rollout_steps, room_words  # noqa: E402

PACKAGES = ("node", "swarm", "policies")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_words_and_its_floor(package: str) -> None:
    rooms = {path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
    words = room_words()[package]
    assert rooms - set(words) == set()
    assert {name for name in words if not _is_there(package, name)} == set()
    assert rooms - {name for floor in floors_of(package) for name in floor} == set()


def test_every_step_names_what_is_there() -> None:
    steps = list(rollout_steps())
    assert len(steps) > 10 and steps[0][1] == "sender" and steps[-1][1] == "receiver"
    assert [where for _, _, places in steps for where in places if not (ROOT / where).exists()] == []


def test_every_answer_names_what_is_there() -> None:
    answers = PAGE.read_text(encoding="utf-8").split("## Where is it?")[1].split("\n## ")[0]
    paths = re.findall(r"`((?:node|swarm|policies)/[\w./]+)`", answers)
    assert len(paths) >= 20 and [path for path in paths if not (ROOT / path).exists()] == []


def test_the_kept_pictures_show_all_of_it() -> None:
    rooms, way = shown("rooms.svg"), shown("rollout.svg")
    for package in PACKAGES:
        floors = {name for floor in floors_of(package) for name in floor}
        assert (set(room_words()[package]) & floors) - rooms == set(), "run: python docs/generate"
    assert {where for _, _, places in rollout_steps() for where in places} - way == set(), (
        "run: python docs/generate"
    )


def test_pictures_ask_nothing_of_the_network() -> None:
    for picture in (ROOT / "docs" / "images").glob("*.svg"):
        assert (
            re.findall(r"url\(.?https?:|href=.https?:|@import", picture.read_text(encoding="utf-8")) == []
        ), picture


def shown(picture: str) -> set[str]:
    """The texts of a picture."""
    tree = ElementTree.parse(ROOT / "docs" / "images" / picture)
    return {element.text or "" for element in tree.iter("{http://www.w3.org/2000/svg}text")}


def _is_there(package: str, name: str) -> bool:
    return (ROOT / package / name).is_dir() or (ROOT / package / f"{name}.py").is_file()
