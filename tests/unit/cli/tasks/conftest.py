"""A server that gives the answers of the tasks' API it is told to give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from typer.testing import CliRunner, Result

from kikitori.cli.tasks.group import app

ID = "task_01kb9q3m5e8d7x2v4n6r0t1y3w"


def task_json(**given: Any) -> dict[str, Any]:
    """A queued task as the API shows it."""
    return {
        "id": ID, "status": "queued", "progress": 0.0, "priority": "normal", "task_type": "transcribe", "url": None,
        "file_name": "talk.mp3", "options": {}, "formats": [], "tags": [], "platform": "", "details": {},
        "parent": None, "created_at": "2026-03-01T12:30:00.000Z", "started_at": None, "finished_at": None,
        "expires_at": None, "timings": {"queue_seconds": None, "work_seconds": None}, "duration": None,
        "seconds_done": 0.0, "speed": None, "eta_seconds": None, "language": "", "language_probability": 0.0,
        "model": "", "engine": "", "mode": "", "attempts": 0, "node": None, "queue_position": 1,
        "cancel_requested": False, "error": None, "callback_url": None, "owner": "", **given,
    }  # fmt: skip


def succeeded(**given: Any) -> dict[str, Any]:
    done = {
        "status": "succeeded", "progress": 100.0, "duration": 60.0, "seconds_done": 60.0, "language": "en",
        "model": "small", "engine": "whisper", "mode": "windowed", "queue_position": None,
        "timings": {"queue_seconds": 0.1, "work_seconds": 5.0},
    }  # fmt: skip
    return task_json(**{**done, **given})


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: str | Mapping[str, Any] = ""
    headers: Mapping[str, str] = field(default_factory=dict)


GONE = Answer(status=0)
"""The connection is closed without a word."""


def events(*told: tuple[str, str, Mapping[str, Any]]) -> Answer:
    """Server-sent events: (event, id, data)."""
    frames = [f"id: {id}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for name, id, data in told]
    return Answer(200, "retry: 2000\n\n: still here\n\n" + "".join(frames), {"content-type": "text/event-stream"})


def error(status: int, code: str, message: str, **more: Any) -> Answer:
    return Answer(status, {"error": {"message": message, "type": "x", "param": None, "code": code, **more}})


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, list[str]]:
        """Of a form; a file as ``name: content``."""
        found: dict[str, list[str]] = {}
        kind = self.headers.get("content-type", "")
        if kind.startswith("multipart/"):
            message = BytesParser(policy=HTTP).parsebytes(f"content-type: {kind}\r\n\r\n".encode() + self.body)
            for part in message.iter_parts():
                content = part.get_payload(decode=True)
                text = content.decode() if isinstance(content, bytes) else ""
                name = str(part.get_param("name", header="content-disposition"))
                found.setdefault(name, []).append(f"{part.get_filename()}: {text}" if part.get_filename() else text)
        else:
            for name, value in parse_qsl(self.body.decode()):
                found.setdefault(name, []).append(value)
        return found


@dataclass(slots=True)
class FakeApi:
    """``answers`` of each "METHOD /path", in turn; the last one stays."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def on(self, route: str, *answers: Answer | Mapping[str, Any]) -> None:
        self.answers[route] = [each if isinstance(each, Answer) else Answer(200, each) for each in answers]

    def asked(self, route: str) -> list[Request]:
        return [request for request in self.requests if f"{request.method} {request.path}" == route]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        known = self.answers.get(f"{request.method} {request.path}", [])
        if not known:
            return error(404, "not_found", f"There is nothing at {request.path}.")
        return known.pop(0) if len(known) > 1 else known[0]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    made = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = made.answer(Request(self.command, parts.path, parse_qsl(parts.query), headers, body))
            if answer is GONE:
                self.close_connection = True
                return
            self.send_response(answer.status)
            content = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            kind = "text/plain" if isinstance(answer.body, str) else "application/json"
            for name, value in {"content-type": kind, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listener.server_port}"
    monkeypatch.setenv("KIKITORI_URL", made.url)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    listener.shutdown()
    thread.join()
    listener.server_close()


Run = Callable[..., Result]


@pytest.fixture
def tasks(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``kikitori tasks …`` on the fake server."""
    monkeypatch.delenv("PYTHONASYNCIODEBUG")  # it logs what takes long on a busy machine
    return lambda *arguments, **given: CliRunner().invoke(app, [*arguments], **given)
