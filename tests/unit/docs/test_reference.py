"""The generated references: every key and option is there, and says what it means."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.config.reading import PRESETS, load_config
from policies.settings import Settings

ROOT = Path(__file__).parents[3]
GENERATOR = ROOT / "docs" / "generate"
sys.path.insert(0, str(GENERATOR))

from commands import commands, commands_page  # noqa: E402
from config_keys import Key, Section, _Reader, config_page, config_sections  # noqa: E402

GENERAL = {
    "murmur COMMAND --help",
    "murmur bench NAME",
    "murmur --version",
    "murmur bench",
}  # of no command in particular
SHIPPED = sorted(path.stem for path in PRESETS[-1].glob("*.toml"))


def test_every_key_and_section_says_what_it_means() -> None:
    assert undescribed(config_sections()) == []


def test_a_key_without_words_is_found() -> None:
    class Silent(Settings):
        """A section."""

        told: int = 1
        """Of this there are words."""
        untold: int = 2

    schema = Silent.model_json_schema()
    sections = list(_Reader({}).sections(schema, "here", ""))
    assert undescribed(sections) == ["here.untold"]


@pytest.mark.parametrize("preset", SHIPPED)
def test_every_key_of_a_whole_config_is_in_the_reference(preset: str) -> None:
    known = {key.path for section in config_sections() for key in section.keys}
    config = load_config(preset).model_dump(mode="json")
    assert {path for path in leaves(config, known) if path not in known} == set()


def test_bounds_defaults_and_choices_are_those_of_the_schema() -> None:
    keys = {key.path: key for section in config_sections() for key in section.keys}
    assert keys["sampler.local"] == Key(
        "sampler.local", "integer", "`8`", "1 or more, 4096 at most", keys["sampler.local"].meaning
    )
    assert keys["sampler.retry_unsolved"].bounds == "0 or more, 1 at most"
    assert keys["swarm.client_mode"].type == 'boolean or `"auto"`'
    assert keys["strategy.rollouts"].bounds == "2 or more, 1024 at most"
    assert keys["policy"].default == '`type = "embedded"`'
    assert keys["tasks"].default == "must be set"
    assert keys["policy.tree.splits"].default == "`{ 0 = 4, 3 = 2, 6 = 2 }`"


def test_every_command_and_option_says_what_it_does() -> None:
    silent = [command.name for command in commands() if not command.help]
    silent += [f"{c.name} {name}" for c in commands() for name, meaning in c.parameters if not meaning]
    assert silent == []


def test_every_command_that_help_lists_is_in_the_reference() -> None:
    page = commands_page()
    listed = CliRunner().invoke(app, ["--help"]).output.split("Commands:\n")[1].split("\n\n")[0]
    names = [line.split()[0] for line in listed.splitlines() if line[:3].strip()]
    assert len(names) > 5 and [name for name in names if f"## murmur {name}" not in page] == []


def test_tables_keep_their_columns() -> None:
    for line in config_page().splitlines() + commands_page().splitlines():
        if line.startswith("| `"):
            assert line.replace("\\|", "").count("|") in (3, 6), line


def undescribed(sections: Sequence[Section]) -> list[str]:
    """Paths of keys, and of sections below the top, without a meaning."""
    keys = [key.path for section in sections for key in section.keys if not key.meaning]
    return keys + [section.title for section in sections if section.path and not section.meaning]


def leaves(value: Any, known: set[str], path: str = "") -> Iterator[str]:
    """Dotted paths of all keys; a table whose keys the user makes up ends at its own name."""
    free = path in known and not any(other.startswith(f"{path}.") for other in known)
    if isinstance(value, dict) and not free:
        for name, item in value.items():
            yield from leaves(item, known, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from leaves(item, known, path)
    elif path:
        yield path


def test_commands_within_sentences_exist_with_their_options() -> None:
    known = {command.name: command for command in commands()}
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    found, wrong = 0, []
    for page in pages:
        if page.name == "lab-book.md":  # it quotes the commands of its day
            continue
        for span in re.findall(r"(?<!`)`(murmur [^`]+)`(?!`)", page.read_text(encoding="utf-8")):
            found += 1
            words = span.split()
            name = next((n for n in (" ".join(words[:3]), " ".join(words[:2])) if n in known), "")
            spelled = " ".join(names for names, _ in known[name].parameters).split() if name else []
            unknown = [word for word in words if word.startswith("--") and word not in spelled]
            if span not in GENERAL and (not name or unknown):
                wrong.append(f"{page.name}: {span}")
    assert found > 30 and wrong == []
