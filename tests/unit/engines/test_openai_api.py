"""A transcription endpoint as an engine: what is asked, what comes back, and every way in which it fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from kikitori.engines import openai_http
from kikitori.engines.base import EngineConfig
from kikitori.engines.openai_api import OpenAIEngine
from kikitori.engines.wording import place
from kikitori.errors import Busy, DecodingCancelled, ModelLoadFailed, RemoteFailed
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, Task

KEY = "sk-secret-0123456789"
NOISE = (np.random.default_rng(1).standard_normal(SAMPLE_RATE) * 0.1).astype(np.float32)
DETAILED = {
    "task": "transcribe",
    "language": "english",
    "duration": 1.0,
    "text": "Hello, world. Again!",
    "segments": [
        {"id": 0, "start": 0.0, "end": 0.6, "text": " Hello, world.", "avg_logprob": -0.1},
        {"id": 1, "start": 0.6, "end": 9.0, "text": " Again!", "avg_logprob": -0.2},
    ],
    "words": [
        {"word": "Hello", "start": 0.0, "end": 0.3},
        {"word": "world", "start": 0.3, "end": 0.6},
        {"word": "Again", "start": 0.6, "end": 0.9},
    ],
}


@dataclass
class Asked:
    path: str
    key: str
    fields: dict[str, list[str]]
    audio: bytes


@dataclass
class Upstream:
    """Answers with the next of ``script`` (status, body, headers), and with the last one again and again."""

    script: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    engines: list[OpenAIEngine] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def engine(self, model: str = "whisper-1", **extra: Any) -> OpenAIEngine:
        engine = OpenAIEngine(EngineConfig(model=model, extra={"base_url": self.url, "api_key": KEY, **extra}))
        self.engines.append(engine)
        return engine


def handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            upstream.asked.append(read_form(self.path, dict(self.headers.items()), body))
            step = upstream.script.pop(0) if len(upstream.script) > 1 else upstream.script[0]
            if step == "hang":
                upstream.reached.set()
                upstream.released.wait(60)
                return
            if step == "cut":
                self.connection.close()
                return
            status, content, headers = step
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(sent)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def read_form(path: str, headers: dict[str, str], body: bytes) -> Asked:
    lowered = {name.lower(): value for name, value in headers.items()}
    message = BytesParser().parsebytes(f"content-type: {lowered['content-type']}\r\n\r\n".encode() + body)
    fields: dict[str, list[str]] = {}
    audio = b""
    for part in message.get_payload():
        assert not isinstance(part, str)
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if name == "file":
            audio = content
        else:
            fields.setdefault(str(name), []).append(content.decode())
    return Asked(path, lowered.get("authorization", ""), fields, audio)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setattr(openai_http, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(openai_http, "POLL_SECONDS", 0.01)
    upstream = Upstream()
    with served(upstream):
        yield upstream
        for engine in upstream.engines:
            engine.close()


@contextmanager
def served(upstream: Upstream) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(upstream))
    server.daemon_threads = False
    upstream.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        upstream.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Calls:
    def __init__(self, gone: Callable[[], bool] = lambda: False) -> None:
        self.gone = gone

    def submit(self, key: object, payload: object) -> Any:
        raise AssertionError("Nothing is merged.")

    def check(self) -> None:
        if self.gone():
            raise DecodingCancelled


def ok(content: Any) -> tuple[int, Any, dict[str, str]]:
    return 200, content, {}


def hear(engine: OpenAIEngine, audio: Audio = NOISE, **options: Any) -> tuple[str, Sequence[Any]]:
    decoding = engine.transcribe(audio, DecodeOptions(**options), Calls())
    return decoding.language.code, list(decoding.segments)


# What is asked, and what comes back ----------------------------------------------------------------------------------


def test_segments_and_words_come_back_with_their_times(upstream: Upstream) -> None:
    upstream.script = [ok(DETAILED)]
    language, segments = hear(
        upstream.engine(), language="en", word_timestamps=True, initial_prompt="Names", hotwords="A"
    )
    assert language == "en"
    assert [(part.text, part.start, part.end) for part in segments] == [
        (" Hello, world.", 0.0, 0.6),
        (" Again!", 0.6, 1.0),
    ]
    assert [[word.word for word in part.words] for part in segments] == [[" Hello,", " world."], [" Again!"]]
    (asked,) = upstream.asked
    assert (asked.path, asked.key) == ("/v1/audio/transcriptions", f"Bearer {KEY}")
    assert asked.fields == {
        "model": ["whisper-1"],
        "response_format": ["verbose_json"],
        "language": ["en"],
        "prompt": ["A. Names"],
        "timestamp_granularities[]": ["segment", "word"],
    }
    assert asked.audio.startswith(b"RIFF")
    assert len(asked.audio) == 44 + 2 * SAMPLE_RATE


def test_translations_go_their_own_way(upstream: Upstream) -> None:
    upstream.script = [ok({"text": "Good day."})]
    language, (segment,) = hear(upstream.engine(), language="de", task=Task.TRANSLATE)
    assert (language, segment.text, segment.end) == ("de", " Good day.", 1.0)
    assert upstream.asked[0].path == "/v1/audio/translations"
    assert "language" not in upstream.asked[0].fields


def test_a_model_without_times_is_asked_without(upstream: Upstream) -> None:
    refusal = {"error": {"message": "response_format 'verbose_json' is not compatible with this model"}}
    upstream.script = [(400, refusal, {}), ok({"text": "Hello."})]
    engine = upstream.engine("parrot")
    assert [part.text for part in hear(engine)[1]] == [" Hello."]
    assert [part.text for part in hear(engine)[1]] == [" Hello."]
    assert [asked.fields["response_format"] for asked in upstream.asked] == [["verbose_json"], ["json"], ["json"]]
    assert hear(upstream.engine("gpt-4o-transcribe"))[1]
    assert upstream.asked[-1].fields["response_format"] == ["json"]


def test_silence_is_not_sent_and_short_audio_is_filled_up(upstream: Upstream) -> None:
    upstream.script = [ok({"text": ""})]
    engine = upstream.engine()
    assert hear(engine, np.zeros(SAMPLE_RATE, np.float32)) == ("", [])
    assert hear(engine, NOISE[:0]) == ("", [])
    assert upstream.asked == []
    assert hear(engine, NOISE[:100]) == ("", [])
    assert len(upstream.asked[0].audio) == 44 + 2 * SAMPLE_RATE // 10


@pytest.mark.parametrize(
    "content",
    [
        {"text": 3, "segments": "none"},
        {"text": "Hi.", "segments": [{"text": "Hi.", "start": "x", "end": float("1e9")}, {"start": 0}, 7]},
        {"text": "Hi.", "language": 5, "words": [{"word": "Hi", "start": -5, "end": None}, "x"]},
    ],
)
def test_odd_answers_are_made_the_best_of(upstream: Upstream, content: Any) -> None:
    upstream.script = [ok(content)]
    _, segments = hear(upstream.engine(), word_timestamps=True)
    assert all(0.0 <= part.start <= part.end <= 1.0 for part in segments)


@pytest.mark.parametrize(
    ("text", "words", "placed"),
    [
        (" Hello, world.", ["Hello", "world"], [" Hello,", " world."]),
        ("今日は。元気", ["今日", "は", "元気"], ["今日", "は。", "元気"]),
        (' "Yes" — no', ["Yes", "no"], [' "Yes" —', " no"]),
        (" one two", ["one", "three", "two"], [" one", " three", " two"]),
        ("", [], []),
    ],
)
def test_words_are_found_in_their_text(text: str, words: list[str], placed: list[str]) -> None:
    assert place(text, words) == placed


# What goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["cut", (500, {}, {}), (503, b"busy", {}), (429, {}, {"retry-after": "0.01"})])
def test_what_may_pass_is_tried_again(upstream: Upstream, first: Any) -> None:
    upstream.script = [first, first, ok({"text": "Hello."})]
    assert [part.text for part in hear(upstream.engine())[1]] == [" Hello."]
    assert len(upstream.asked) == 3


@pytest.mark.parametrize(
    ("step", "error", "said", "times"),
    [
        ("cut", RemoteFailed, "cannot be reached", 3),
        ((500, {}, {}), RemoteFailed, "failed (500)", 3),
        ((429, {}, {"retry-after": "60"}), Busy, "too much to do", 1),
        ((401, {"error": {"message": f"bad key {KEY}"}}, {}), RemoteFailed, "KIKITORI_OPENAI_API_KEY", 1),
        ((404, {}, {}), RemoteFailed, "KIKITORI_OPENAI_MODELS", 1),
        ((400, {"error": {"message": f"bad audio {KEY}"}}, {}), RemoteFailed, "bad audio [key]", 1),
        ((200, b"<html>", {}), RemoteFailed, "does not answer as OpenAI's would", 1),
        ((200, [1], {}), RemoteFailed, "does not answer as OpenAI's would", 1),
        ((307, b"", {"location": "http://127.0.0.1:1/"}), RemoteFailed, "(307)", 1),
    ],
)
def test_what_does_not_pass_is_ours_to_tell(
    upstream: Upstream, step: Any, error: type[Exception], said: str, times: int
) -> None:
    upstream.script = [step]
    with pytest.raises(error) as raised:
        hear(upstream.engine())
    assert said in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(upstream.asked) == times


def test_an_endpoint_that_hangs_is_given_up(upstream: Upstream) -> None:
    upstream.script = ["hang"]
    with pytest.raises(RemoteFailed, match="in time"):
        hear(upstream.engine(timeout_seconds=0.1))
    assert len(upstream.asked) == 1


def test_who_goes_away_frees_the_connection_and_the_thread_at_once(upstream: Upstream) -> None:
    upstream.script = ["hang"]
    engine = upstream.engine()
    with pytest.raises(DecodingCancelled):
        engine.transcribe(NOISE, DecodeOptions(), Calls(upstream.reached.is_set))
    engine.close()  # waits for its threads, though the endpoint still hangs
    assert not [each for each in threading.enumerate() if each.name.startswith("kikitori-openai")]
    assert not upstream.released.is_set()


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "no address"])
def test_an_endpoint_without_an_address_cannot_be_loaded(url: str) -> None:
    with pytest.raises(ModelLoadFailed, match="KIKITORI_OPENAI_BASE_URL"):
        OpenAIEngine(EngineConfig(model="whisper-1", extra={"base_url": url}))
