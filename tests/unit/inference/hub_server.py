"""A model hub on loopback: the little of the Hugging Face API that a download needs, and its faults."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

REVISION = "0123abcd"
CONFIG = json.dumps({"suppress_ids": [], "alignment_heads": [[0, 0]]}).encode()
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": b"{}",
    "vocabulary.txt": b"a\nb\n",
    "model.bin": bytes(range(256)) * 4_000,
    "README.md": b"not needed",
}


@dataclass
class FakeHub:
    """What the hub holds, what goes wrong, and what it was asked."""

    models: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    """Answers of the next requests for a file, instead of the file; 0: the file."""
    cut_after_bytes: list[int] = field(default_factory=list)
    """The next answers with a large file break off after so many bytes."""
    damage: bool = False
    """Large files arrive with a wrong byte."""
    ignore_ranges: bool = False
    silent: threading.Event | None = None
    """While it is set to an event that has not happened, no request is answered."""
    refuse: int = 0
    """Status of every description."""
    revision: str = REVISION
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of each request."""
    tokens: set[str | None] = field(default_factory=set)
    url: str = ""

    def description(self, model: str) -> bytes:
        siblings = [self._sibling(name, content) for name, content in self.models[model].items()]
        return json.dumps({"id": model, "sha": self.revision, "siblings": siblings}).encode()

    def _sibling(self, name: str, content: bytes) -> dict[str, object]:
        sibling: dict[str, object] = {"rfilename": name, "size": len(content)}
        if name.endswith(".bin"):
            sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
        return sibling


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve ``hub`` on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append((path, self.headers.get("range")))
            hub.tokens.add(self.headers.get("authorization"))
            if hub.silent:
                hub.silent.wait()
            if path.startswith("/api/models/"):
                self._describe(path.removeprefix("/api/models/").removesuffix("/revision/main"))
            else:
                self._send(path)

        def _describe(self, model: str) -> None:
            if hub.refuse or model not in hub.models:
                self._answer(hub.refuse or 404, b"")
            else:
                self._answer(200, hub.description(model))

        def _send(self, path: str) -> None:
            model, _, rest = path[1:].partition("/resolve/")
            revision, _, name = rest.partition("/")
            if revision != hub.revision:
                return self._answer(404, b"")
            if status := hub.statuses.pop(0) if hub.statuses else 0:
                return self._answer(status, b"")
            content = hub.models[model][name]
            large = name.endswith(".bin")
            if large and hub.damage:
                content = content[:-1] + b"\x00"
            start = int((self.headers.get("range") or "bytes=0-")[6:-1])
            if hub.ignore_ranges:
                start = 0
            cut = hub.cut_after_bytes.pop(0) if large and hub.cut_after_bytes else None
            self._answer(206 if start else 200, content[start:], cut)

        def _answer(self, status: int, content: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:cut])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        if hub.silent:
            hub.silent.set()
        server.shutdown()
        server.server_close()
        thread.join()
