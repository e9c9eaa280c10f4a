from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kikitori.cli.api import form_fields, server_address
from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.remote import RemoteBackend
from kikitori.errors import (
    Busy,
    Forbidden,
    InvalidInput,
    InvalidMedia,
    InvalidOption,
    KikitoriError,
    ModelNotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from kikitori.pipeline.events import Finished, Progress, SegmentDone, TranscriptionEvent
from kikitori.types import Segment, Task, Word

SEGMENT = {
    "id": 0,
    "start": 0.0,
    "end": 1.0,
    "text": " hello",
    "words": [{"word": " hello", "start": 0.1, "end": 0.9, "probability": 0.8}],
}
STREAM = (
    ": 0.5 s done\n\n"
    f"data: {json.dumps({'type': 'transcript.text.delta', 'delta': 'hello', 'segment': SEGMENT})}\n\n"
    ": 1.0 s done\n\n"
    'data: {"type": "transcript.text.done", "text": "hello", "usage": {}, "language": "en", "duration": 1.5,'
    ' "model": "small", "engine": "whisper", "mode": "sequential"}\n\n'
    "data: [DONE]\n\n"
)


@dataclass
class Answer:
    status: int
    body: str
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


OK = Answer(200, STREAM, "text/event-stream; charset=utf-8")


@dataclass
class Server:
    """Gives its answers in turn, and remembers what it was sent."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            answer = made.answers.pop(0)
            self.send_response(answer.status)
            for name, value in {"content-type": answer.kind, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"not really audio")
    return Recording(name="talk.mp3", path=path)


async def events_of(url: str, recording: Recording, *, api_key: str = "", **given: object) -> list[TranscriptionEvent]:
    fields = form_fields(given, model=str(given.pop("model", "")))
    with StoppableInput(sys.stdin) as stdin:
        async with RemoteBackend.open(url, api_key, fields, stdin) as backend:
            return [event async for event in backend.stream(recording)]


async def test_the_stream_becomes_events(server: Server, recording: Recording) -> None:
    server.answers = [OK]
    first, heard, second, last = await events_of(server.url, recording, task="translate")
    assert first == Progress(seconds_done=0.5, duration=None)
    word = Word(word=" hello", start=0.1, end=0.9, probability=0.8)
    segment = Segment(id=0, start=0.0, end=1.0, text=" hello", words=(word,))
    assert heard == SegmentDone(segment=segment)
    assert second == Progress(seconds_done=1.0, duration=None)
    assert isinstance(last, Finished)
    transcript = last.transcript
    assert transcript.segments == (segment,)
    assert (transcript.text, transcript.language, transcript.duration) == ("hello", "en", 1.5)
    assert (transcript.model, transcript.engine, transcript.mode) == ("small", "whisper", "sequential")
    assert transcript.task is Task.TRANSLATE


async def test_the_progress_of_real_media_is_known(server: Server, hello_wav: Path) -> None:
    server.answers = [OK]
    first, *_ = await events_of(server.url, Recording(name="hello", path=hello_wav))
    assert isinstance(first, Progress)
    assert first.duration == pytest.approx(1.5, abs=0.3)


async def test_options_travel_as_fields_and_the_key_as_a_header(server: Server, recording: Recording) -> None:
    server.answers = [OK]
    given = {"beam_size": "3", "word_timestamps": True, "vad_filter": False, "temperature": "0", "model": "small"}
    await events_of(f"{server.url}/v1/", recording, api_key="kk_secret", **given)
    ((path, headers, body),) = server.requests
    assert path == "/v1/audio/transcriptions"
    assert headers["authorization"] == "Bearer kk_secret"
    for name, value in {**given, "word_timestamps": "true", "vad_filter": "false", "temperature": "[0]"}.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in body
    assert b'name="stream"\r\n\r\ntrue' in body
    assert b'filename="talk.mp3"' in body
    assert b"not really audio" in body


async def test_stdin_is_sent_with_its_length(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server.answers = [OK]
    (tmp_path / "in").write_bytes(b"piped")
    with (tmp_path / "in").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        await events_of(server.url, Recording(name="stdin", path=None))
    assert b"piped" in server.requests[0][2]


async def test_a_busy_server_is_asked_again(server: Server, recording: Recording) -> None:
    busy = Answer(429, '{"error": {"message": "Full.", "code": "rate_limit_exceeded"}}', headers={"retry-after": "0"})
    server.answers = [busy, busy, OK]
    assert isinstance((await events_of(server.url, recording))[-1], Finished)
    assert len(server.requests) == 3
    assert all(b"not really audio" in body for _, _, body in server.requests)


async def test_a_server_that_stays_busy_is_let_be(server: Server, recording: Recording) -> None:
    server.answers = [Answer(429, "{}", headers={"retry-after": "0"})] * 20
    with pytest.raises(Busy):
        await events_of(server.url, recording)
    assert len(server.requests) == 6


def error(message: str, code: str | None = None, param: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "x", "param": param, "code": code}})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(400, error("This is not audio.", "invalid_value", "file")), InvalidInput, "This is not audio."),
        (Answer(400, error("It cannot.", "unsupported_value", "task")), Unsupported, "It cannot."),
        (
            Answer(401, error("The API key is missing.", "invalid_api_key")),
            Unauthorized,
            "Give the right one with --api-key",
        ),
        (Answer(403, error("No.", "forbidden")), Forbidden, "No."),
        (Answer(404, error("No model.", "model_not_found", "model")), ModelNotFound, "No model."),
        (Answer(404, "<h1>nginx</h1>", "text/html"), Unavailable, "The server answered 404 Not Found."),
        (Answer(413, error("Too large.")), TooLarge, "Too large."),
        (Answer(503, error("Loading.", "unavailable")), Unavailable, "Loading."),
        (Answer(500, error("Broken.")), KikitoriError, "Broken."),
        (Answer(200, '{"text": "hello"}'), Unavailable, "127.0.0.1 answers, but is not a Kikitori server."),
        (Answer(200, 'data: {"error": {"message": "It broke."}}\n\n', OK.kind), KikitoriError, "It broke."),
        (
            Answer(200, STREAM.partition('data: {"type": "transcript.text.done')[0], OK.kind),
            Unavailable,
            "answer broke off.",
        ),
        (Answer(200, STREAM[:200], OK.kind), Unavailable, "answer broke off, or is not understood"),
        (Answer(200, "data: 5\n\n", OK.kind), Unavailable, "answer broke off, or is not understood"),
        (Answer(200, STREAM, OK.kind, {"content-length": "99999"}), Unavailable, "does not answer"),
    ],
)
async def test_what_goes_wrong_is_one_of_our_errors(
    server: Server, recording: Recording, answer: Answer, kind: type[KikitoriError], words: str
) -> None:
    server.answers = [answer]
    with pytest.raises(KikitoriError, match=words.replace(".", r"\.")) as caught:
        await events_of(server.url, recording)
    assert type(caught.value) is kind


async def test_nobody_there_is_unavailable(recording: Recording) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9/ does not answer \(Connection refused\)\. Check --url"):
        await events_of("127.0.0.1:9", recording)


async def test_a_file_that_cannot_be_read_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InvalidMedia, match="Is a directory"):
        await events_of(server.url, Recording(name="folder", path=tmp_path))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("https://host/v1", "https://host/"),
        ("https://host/speech/v1/", "https://host/speech/"),
        (" http://host ", "http://host/"),
    ],
)
def test_addresses_are_taken_as_people_write_them(url: str, address: str) -> None:
    assert str(server_address(url)) == address


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidOption, match="the address of a server"):
        server_address(url)
