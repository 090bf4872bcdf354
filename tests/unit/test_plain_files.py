"""Files that others left are read in one place, which no pipe holds up and no nesting breaks."""

from __future__ import annotations

import ast
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policies.plain_files import (
    parse_json,
    read_bytes,
    read_json,
    read_object,
    read_text,
    require_plain,
    require_plain_files,
)

ROOT = Path(__file__).parents[2]
HERE = "policies/plain_files.py"
# What they read is murmur's own: its source, its page, or lines of the process that started them.
OWN = {
    *("policies/workers/child.py", "policies/tasks/gym_work.py", "policies/tasks/data/table_child.py"),
    *("swarm/discovery/mdns.py", "swarm/version.py", "policies/install_hints.py", "node/web/app.py"),
    *("policies/text/proof.py", "policies/text/engine/packed.py", "policies/tasks/code_work.py"),
    *("node/report/trackers.py", "swarm/wire/body_codec.py"),
}


@pytest.mark.parametrize("read", [read_text, read_bytes, read_json, require_plain])
def test_what_is_no_plain_file_is_refused_at_once(read: Callable[[Path], object], tmp_path: Path) -> None:
    pipe, line = tmp_path / "pipe", tmp_path / "line"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(line))
        for path in (pipe, line, Path("/dev/zero")):
            with pytest.raises(OSError, match=f"{path} is a pipe, a socket or a device"):
                read(path)
    with pytest.raises(OSError, match="pipe"):
        require_plain_files(tmp_path)
    require_plain(tmp_path / "absent")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "{", "1" * 5000, "\ud800"])
def test_json_that_cannot_be_read_is_a_value_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    (tmp_path / "file").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError):
        read_json(tmp_path / "file")


def test_json_and_whole_files_are_read_nowhere_else() -> None:
    sources = [path for package in ("policies", "swarm", "node") for path in (ROOT / package).rglob("*.py")]
    names = {path: str(path.relative_to(ROOT)) for path in sources}
    reading = {
        name for path, name in names.items() if [*_reads(path.read_text(), whole="/bench/" not in name)]
    }
    assert reading - OWN == {HERE}
    assert [*_reads("import json\njson.loads('1')\nPath('a').read_text()", whole=True)] == [2, 3]


def _reads(source: str, *, whole: bool) -> Iterator[int]:
    """Lines that parse JSON by the library or, with `whole`, read a file in one go."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called = ast.unparse(node.func)
        at_once = whole and node.func.attr in {"read_text", "read_bytes"}
        if at_once or called in {"json.loads", "json.load"}:
            yield node.lineno


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "7"])
def test_an_object_that_is_not_there_or_is_something_else_is_empty(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "facts.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert read_object(file) == {}
    file.write_text('{"by": "reward"}', encoding="utf-8")
    assert read_object(file) == {"by": "reward"}
