"""An owner's config and invite with shared rows, for the tests of `node.rows`."""

from __future__ import annotations

import json
from pathlib import Path

from node.arguments import run_config
from node.config.roles import manifest_of
from node.config.schema import Config
from swarm.wire.invite import Invite

PEER = "12D3KooWJJzaGSBhcUzpyPqBEUB3ESKa53pTvwKM9hx7vcQXm7A8"
ADDRESS = f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}"
CONFIG = """
[[tasks]]
name = "data:sums"
path = "sums.jsonl"
prompt = "Add: {question} \\u2192"
answer = "{answer}"
verifier = { name = "number", tolerance = 0.1 }
share = true
[swarm]
type = "dht"
"""
ROWS = [{"question": f"{i} + 2", "answer": str(i + 2), "note": "not travelling"} for i in range(40)]


def owner(folder: Path, changes: str = "") -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "own.toml").write_text(CONFIG + changes)
    return run_config(str(folder / "own.toml"), [], None)


def invite(config: Config) -> str:
    return Invite(manifest_of(config), (ADDRESS,)).encode()
