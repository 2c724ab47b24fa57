"""A small Hugging Face hub on loopback, as far as the real client needs one; it can misbehave.

Large files are answered as the real one does: with a redirect to another origin (here: the same
server under its other name), which refuses requests that carry somebody's token.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_good"  # noqa: S105


@dataclass
class Hub:
    """What is served, how it misbehaves, and what was asked for.

    gate: "" for an open repository, "gated" for one whose licence TOKEN's owner has accepted,
    "not accepted" for one whose licence nobody has. cuts: path -> bytes after which the connection
    drops, once each. damages: path -> how many more times its bytes arrive wrong. claims: path ->
    a size to state instead of the real one. ignores_ranges: answer the whole file to every Range.
    """

    repo: str
    revision: str
    files: dict[str, bytes]
    gate: str = ""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    damages: dict[str, int] = field(default_factory=dict)
    claims: dict[str, int] = field(default_factory=dict)
    ignores_ranges: bool = False
    status: int = 0
    page: bytes = b""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""
    elsewhere: str = ""

    @classmethod
    def of(cls, folder: Path, repo: str, revision: str) -> Hub:
        """A hub that serves a folder as a repository."""
        files = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        return cls(repo, revision, files)

    @property
    def first_shard(self) -> str:
        """The path of a file that is fetched early, and is neither the smallest nor the largest."""
        return min(
            path
            for path in self.files
            if path.startswith("transformer/diffusion") and "-of-" in path
        )

    def fetched(self, path: str) -> list[str]:
        """The Range headers of the requests for a file's bytes, "" for the whole."""
        wanted = hashlib.sha256(self.files[path]).hexdigest() if is_large(path) else path
        return [
            span for method, asked, span in self.requests if method == "GET" and wanted in asked
        ]

    def sibling(self, path: str) -> dict[str, Any]:
        """What the hub's list says about a file."""
        size = self.claims.get(path, len(self.files[path]))
        listed = {"rfilename": path, "size": size, "blobId": git_digest(self.files[path])}
        if is_large(path):
            sha256 = hashlib.sha256(self.files[path]).hexdigest()
            listed["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 134}
        return listed


def is_large(path: str) -> bool:
    """Whether a path is in large-file storage."""
    return path.endswith((".safetensors", "tokenizer.json"))


def git_digest(content: bytes) -> str:
    """The name git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324


class Server(ThreadingHTTPServer):
    """Keeps quiet about clients that hang up, which is what some tests are about."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing."""


def serve(hub: Hub) -> ThreadingHTTPServer:
    """The running server of a hub; the caller shuts it down."""

    class Handler(Answers):
        served = hub

    server = Server(("127.0.0.1", 0), Handler)
    port = server.server_address[1]
    hub.url, hub.elsewhere = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class Answers(BaseHTTPRequestHandler):
    """One request: `/api/models/…` lists, `/{repo}/resolve/…` and `/storage/…` give bytes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: Hub

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is not the place."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, path = self.served, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Range", "")))
        if hub.page:
            self.say(200, hub.page, {"Content-Type": "text/html"})
        elif hub.status:
            self.refuse(hub.status, "", "out of order")
        elif path.startswith("/storage/"):
            self.from_storage(path.removeprefix("/storage/"))
        elif self.headers.get("Authorization") not in (None, f"Bearer {TOKEN}"):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif path.startswith("/api/models/"):
            self.list_files(path.removeprefix("/api/models/"))
        else:
            self.resolve(path)

    def list_files(self, path: str) -> None:
        hub = self.served
        repo, _, revision = path.partition("/revision/")
        if repo != hub.repo:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        if revision != hub.revision:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        siblings = [hub.sibling(name) for name in hub.files]
        listed = {"id": repo, "sha": revision, "gated": bool(hub.gate), "siblings": siblings}
        return self.say(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})

    def resolve(self, path: str) -> None:
        hub = self.served
        name = path.removeprefix(f"/{hub.repo}/resolve/{hub.revision}/")
        if name not in hub.files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        if hub.gate and self.headers.get("Authorization") is None:
            return self.refuse(401, "GatedRepo", f"Access to model {hub.repo} is restricted.")
        if hub.gate == "not accepted":
            return self.refuse(403, "GatedRepo", f"Access to model {hub.repo} is restricted.")
        headers = {"X-Repo-Commit": hub.revision}
        if is_large(name):
            sha256 = hashlib.sha256(hub.files[name]).hexdigest()
            headers |= {
                "X-Linked-Etag": f'"{sha256}"',
                "X-Linked-Size": str(hub.claims.get(name, len(hub.files[name]))),
                "Location": f"{hub.elsewhere}/storage/{sha256}",
            }
            return self.say(302, b"", headers)
        return self.give(name, headers | {"ETag": f'"{git_digest(hub.files[name])}"'})

    def from_storage(self, sha256: str) -> None:
        if self.headers.get("Authorization"):
            return self.refuse(400, "", "a token was sent to another origin")
        for name, content in self.served.files.items():
            if hashlib.sha256(content).hexdigest() == sha256:
                return self.give(name, {"ETag": f'"{sha256}"'})
        return self.refuse(404, "", "no such object")

    def give(self, name: str, headers: dict[str, str]) -> None:
        """The bytes of a file from where the Range header says, with what is to go wrong."""
        hub, content = self.served, self.served.files[name]
        span, start, status = self.headers.get("Range"), 0, 200
        if hub.damages.get(name):
            hub.damages[name] -= 1
            content = bytes([content[0] ^ 1]) + content[1:]
        if span and not hub.ignores_ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.refuse(416, "", "Range Not Satisfiable")
            status = 206
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        cut = hub.cuts.get(name)
        if self.command == "GET" and cut:
            return self.say(status, content[start:], headers, only=cut.pop(0))
        return self.say(status, content[start:], headers)

    def refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.say(status, json.dumps({"error": message}).encode(), headers)

    def say(
        self, status: int, body: bytes, headers: dict[str, str], only: int | None = None
    ) -> None:
        """One answer; with `only` the connection drops after that many bytes of the body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:only])
        if only is not None:
            self.close_connection = True
