"""A stand-in of the Hugging Face hub on loopback: as much of its HTTP interface as an upload and a download speak."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_standin"
LARGE = (".safetensors", ".gguf")


class Hub(ThreadingHTTPServer):
    """Repositories by name, each a table of paths and contents, and which of them are private."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.full = False  # refuses every commit
        self.given: list[str] = []  # paths of files that somebody asked for, whether they are there or not

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running_hub() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._give_file()

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            self._give_file()
            return
        if not self._allowed():
            return
        if self.path == "/api/whoami-v2":
            self._answer({"name": "someone", "type": "user", "orgs": []})
        elif self.path.startswith("/api/models/"):
            self._answer(
                {"id": "/".join(self.path.split("?")[0].split("/")[3:5]), "sha": "0" * 40, "siblings": []}
            )
        else:
            self._answer({"error": "Entry not found"}, 404)

    def do_POST(self) -> None:
        body = self._body()
        if not self._allowed():
            return
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path.endswith("/objects/batch"):
            self._answer(
                {"transfer": "basic", "objects": [self._upload(o) for o in json.loads(body)["objects"]]}
            )
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if path.endswith(LARGE) else "regular" for path in files]
            told = [
                {"path": path, "uploadMode": mode, "shouldIgnore": False}
                for path, mode in zip(files, modes, strict=True)
            ]
            self._answer({"files": told})
        elif "/commit/" in self.path:
            self._commit("/".join(self.path.split("/")[3:5]), body)
        else:
            self._answer({"error": f"no such address: {self.path}"}, 404)

    def do_PUT(self) -> None:
        body = self._body()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            self._answer({"error": "other bytes than were announced"}, 400)
            return
        self.server.blobs[oid] = body
        self._answer({})

    def _give_file(self) -> None:
        """Of a public repository, by `/OWNER/NAME/resolve/REVISION/PATH`."""
        repository, _, place = self.path.lstrip("/").partition("/resolve/")
        file = place.partition("/")[2]
        self.server.given.append(file)
        content = self.server.files.get(repository, {}).get(file)
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        content = content or b""
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(part for part in (asked.get("organization") or "someone", asked["name"]) if part)
        if name in self.server.files:
            self._answer(
                {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}, 409
            )
            return
        self.server.files[name] = {}
        self.server.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
        self._answer({"url": f"{self.server.url}/{name}", "name": name, "id": name})

    def _upload(self, told: dict[str, Any]) -> dict[str, Any]:
        where = f"{self.server.url}/blobs/{told['oid']}"
        return {**told, "actions": {"upload": {"href": where}}}

    def _commit(self, name: str, body: bytes) -> None:
        if self.server.full:
            self._answer({"error": "Storage limit reached"}, 403)
            return
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.server.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[name][value["path"]] = self.server.blobs[value["oid"]]
        oid = hashlib.sha1(body).hexdigest()
        page = f"{self.server.url}/{name}/commit/{oid}"
        self._answer({"success": True, "commitOid": oid, "commitUrl": page, "hookOutput": ""})

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid username or password."}, 401)
        return False

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
