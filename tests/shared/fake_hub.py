"""A Hugging Face hub in this process: what its client asks of the real one to list, fetch and upload models."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_a_user_who_may"
MODEL = r"(?P<id>[\w.-]+/[\w.-]+)"


class FakeHub:
    """What the hub holds, and what was asked of it.

    Attributes:
        models: by id, and by revision (`main` or a tag), bytes by file name.
        gated: ids of models whose licence the user without `TOKEN` has not accepted.
        breaks_after: bytes of a file after which the connection breaks, once; then it is `None` again.
        dies_after: bytes of a file after which the connection breaks each time, and no range is served.
        requests: method and path of each request.
        ranges: what was asked for of a file.
    """

    def __init__(self) -> None:
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.breaks_after: int | None = None
        self.dies_after: int | None = None
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.url = ""

    def add(self, model: str, files: dict[str, bytes], revision: str = "main") -> None:
        self.models.setdefault(model, {})[revision] = files

    def sha(self, model: str, revision: str) -> str:
        """A commit's name that changes with the files."""
        digest = hashlib.sha1()
        for name, content in sorted(self.models[model][revision].items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()

    def find(self, model: str, revision: str) -> dict[str, bytes] | None:
        revisions = self.models[model]
        by_sha = {self.sha(model, each): files for each, files in revisions.items()}
        return revisions.get(revision) or by_sha.get(revision)


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """Serves it on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the client ask there, which reads its addresses when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._path()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            model = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            self.hub.models.setdefault(model, {"main": {}})
            return self._json({"url": f"{self.hub.url}/{model}", "id": model})
        if match := re.fullmatch(rf"/api/models/{MODEL}/preupload/main", path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self._json({"files": modes})
        if match := re.fullmatch(rf"/api/models/{MODEL}/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.models[match["id"]]["main"][line["value"]["path"]] = content
            sha = self.hub.sha(match["id"], "main")
            url = f"{self.hub.url}/{match['id']}/commit/{sha}"
            return self._json({"commitUrl": url, "commitOid": sha, "success": True})
        return self._refuse(404, "", path)

    def _path(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def _get(self) -> None:
        path = self._path()
        listing = re.fullmatch(rf"/api/models/{MODEL}(?:/revision/(?P<revision>[^/]+))?", path)
        file = re.fullmatch(rf"/{MODEL}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", path)
        match = listing or file
        if match is None:
            return self._refuse(404, "", path)
        model, revision = match["id"], match["revision"] or "main"
        if model not in self.hub.models:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        files = self.hub.find(model, revision)
        if files is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha = next(
            each
            for name, kept in self.hub.models[model].items()
            for each in [self.hub.sha(model, name)]
            if kept is files
        )
        if listing:
            siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            return self._json({"id": model, "sha": sha, "private": False, "siblings": siblings})
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if model in self.hub.gated and not allowed:
            return self._refuse(403, "GatedRepo", "Access to this model is restricted.")
        if file["file"] not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": sha})
        self._send_file(files[file["file"]], sha)

    def _send_file(self, content: bytes, sha: str) -> None:
        total, begin = len(content), 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin = int(wanted[1])
            self.hub.ranges.append(wanted[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", sha)
        self.send_header("Content-Length", str(total - begin))
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        self.end_headers()
        if self.command == "HEAD":
            return
        end = total
        if self.hub.dies_after is not None and total > self.hub.dies_after:
            end = max(begin, self.hub.dies_after)
        elif self.hub.breaks_after is not None and total > self.hub.breaks_after:
            end, self.hub.breaks_after = self.hub.breaks_after, None
        self.wfile.write(content[begin:end])
        if end < total:
            self.close_connection = True
            self.connection.close()

    def _json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
