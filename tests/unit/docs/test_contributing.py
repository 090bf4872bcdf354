"""CONTRIBUTING names what is there, and all modules that read a stranger's bytes."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
READS_BYTES = re.compile(
    r"fields\.unpack\(|msgpack\.unpackb\(|msgpack\.Unpacker\(|HEADER\.unpack\(|struct\.unpack|decompressobj\(|stream_reader\(|read_request\("
    r"|read_varint\(|opener\.open\(|protobuf\.(?:read|values)\("
)
# Frames between processes of one node: no stranger writes them.
OWN_PROCESSES = {"swarm/network/ipc.py", "swarm/observer/ipc.py", "swarm/transport/ipc_client.py"}


def test_every_path_that_it_names_is_there() -> None:
    paths = re.findall(r"`((?:node|swarm|policies|tests|docs)/[\w./-]+)`", TEXT)
    assert len(paths) > 20 and [path for path in paths if not (ROOT / path).exists()] == []


def test_the_list_of_modules_that_read_a_strangers_bytes_is_whole() -> None:
    section = TEXT.split("### Modules that read a stranger's bytes")[1].split("\n## ")[0]
    listed = set(re.findall(r"`(swarm/[\w/]+\.py)`", section)) - OWN_PROCESSES
    readers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "swarm").rglob("*.py")
        if READS_BYTES.search(path.read_text(encoding="utf-8"))
    }
    assert listed == readers - OWN_PROCESSES
