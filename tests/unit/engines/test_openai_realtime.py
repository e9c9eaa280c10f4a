"""A Realtime endpoint as an engine: audio goes out while it is spoken, words come back, and sockets may be lost."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from kikitori.engines import openai_realtime
from kikitori.engines.base import EngineConfig
from kikitori.engines.openai_realtime import OpenAIRealtimeEngine, RealtimeStream
from kikitori.errors import Busy, DecodingCancelled, ModelLoadFailed, RemoteFailed
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio

KEY = "sk-secret-0123456789"
SECOND = (np.random.default_rng(1).standard_normal(SAMPLE_RATE) * 0.1).astype(np.float32)
TRANSCRIPTION, BUFFER = "conversation.item.input_audio_transcription.", "input_audio_buffer."
OPTIONS = DecodeOptions(language="en", hotwords="Kikitori", initial_prompt="Listen.")

Event = dict[str, Any]


def delta(text: str, item: str = "i1") -> Event:
    return {"type": f"{TRANSCRIPTION}delta", "item_id": item, "delta": text}


def committed(item: str = "i1") -> Event:
    return {"type": f"{BUFFER}committed", "item_id": item}


def completed(text: str, item: str = "i1", **more: Any) -> Event:
    return {"type": f"{TRANSCRIPTION}completed", "item_id": item, "transcript": text, **more}


def problem(code: str, param: str | None = None) -> Event:
    return {"type": "error", "error": {"code": code, "param": param, "message": f"No, {KEY}."}}


@dataclass
class Upstream:
    """Says ``after`` so many seconds of audio what a test wants, and ``at_end`` after a commit; None hangs up."""

    after: dict[float, Sequence[Event | None]] = field(default_factory=dict)
    at_end: Sequence[Event | None] = (committed(), completed("Hello, world.", languages=[{"code": "en"}]))
    refuses: Sequence[Event] = ()
    """Answers to the first updates."""
    status: int = 101
    cuts: int = 0
    """So many sockets break off at their first audio."""
    url: str = ""
    sockets: int = 0
    updates: list[Event] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Of audio, of each socket."""
    engines: list[OpenAIRealtimeEngine] = field(default_factory=list)

    def engine(self, **extra: Any) -> OpenAIRealtimeEngine:
        config = EngineConfig(model="whisper-1", extra={"base_url": self.url, "api_key": KEY, **extra})
        self.engines.append(OpenAIRealtimeEngine(config))
        return self.engines[-1]

    def stream(self, **extra: Any) -> RealtimeStream:
        return self.engine(**extra).stream(OPTIONS)

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.headers.append(request.headers)
        assert request.path == "/v1/realtime?intent=transcription"
        return None if self.status == 101 else Response(self.status, "No", Headers(), b"")

    def serve(self, socket: ServerConnection) -> None:
        self.sockets += 1
        self.seconds.append(0.0)
        try:
            self._serve(socket)
        except ConnectionClosed:
            pass

    def _serve(self, socket: ServerConnection) -> None:
        socket.send(json.dumps({"type": "session.created"}))
        due, refusals = sorted(self.after), list(self.refuses)
        for frame in socket:
            event = json.loads(frame)
            if event["type"] == "session.update":
                self.updates.append(event["session"])
                self.say(socket, [refusals.pop(0) if refusals else {"type": "session.updated"}])
            elif event["type"] == f"{BUFFER}append":
                if self.sockets <= self.cuts:
                    socket.socket.close()
                    return
                self.seconds[-1] += len(base64.b64decode(event["audio"])) / 48_000
                while due and self.seconds[-1] >= due[0] - 0.01:
                    self.say(socket, self.after[due.pop(0)])
            elif event["type"] == f"{BUFFER}commit":
                self.say(socket, self.at_end)

    def say(self, socket: ServerConnection, events: Sequence[Event | None]) -> None:
        for event in events:
            if event is None:
                socket.close(1011)
            else:
                socket.send(json.dumps(event))


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setattr(openai_realtime, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(openai_realtime, "ANSWER_SECONDS", 1.0)
    upstream = Upstream()
    with served(upstream):
        yield upstream
        for engine in upstream.engines:
            engine.close()


@contextmanager
def served(upstream: Upstream) -> Iterator[None]:
    with serve(upstream.serve, "127.0.0.1", 0, process_request=upstream.admit) as server:
        upstream.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def said(stream: RealtimeStream, *pieces: Audio) -> tuple[list[str], str]:
    """What was heard after each piece, and at the end."""
    interims = [stream.accept(piece).text for piece in pieces]
    return interims, "".join(segment.text for segment in stream.finish().segments)


def readers() -> list[threading.Thread]:
    """Threads that sockets of ours leave behind if nobody closes them."""
    found = [thread for thread in threading.enumerate() if "recv_events" in thread.name]
    for thread in found:
        thread.join(5)
    return [thread for thread in found if thread.is_alive()]


def test_words_come_while_somebody_speaks_and_the_end_decides(upstream: Upstream) -> None:
    upstream.after = {1.0: [delta("Hello")], 2.0: [delta(", word")]}
    stream = upstream.stream()
    assert stream.accept(SECOND).text == "Hello"
    words = stream.accept(SECOND).words
    assert [(word.word, word.start, word.end) for word in words] == [(" Hello,", 0.0, 1.0), (" word", 1.0, 2.0)]
    decoding = stream.finish()
    [segment] = decoding.segments
    assert (segment.text, segment.start, segment.end) == (" Hello, world.", 0.0, 2.0)
    assert decoding.language.code == "en"
    assert upstream.seconds == [pytest.approx(2.0, abs=0.01)]
    assert upstream.headers[0]["authorization"] == f"Bearer {KEY}"
    [session] = upstream.updates
    listening = session["audio"]["input"]
    assert session["type"] == "transcription"
    assert listening["transcription"] == {"model": "whisper-1", "language": "en", "prompt": "Kikitori. Listen."}
    assert listening["turn_detection"]["type"] == "server_vad"


def test_a_model_that_looks_for_no_turns_is_asked_for_none(upstream: Upstream) -> None:
    upstream.refuses = [problem("invalid_value", "session.audio.input.turn_detection")]
    assert said(upstream.stream(), SECOND)[1] == " Hello, world."
    assert [update["audio"]["input"]["turn_detection"] is None for update in upstream.updates] == [False, True]


def test_turns_that_the_endpoint_ends_by_itself_are_parts_of_the_utterance(upstream: Upstream) -> None:
    ended = [{"type": f"{BUFFER}speech_stopped", "item_id": "i1"}, committed()]
    upstream.after = {1.0: [delta("One"), *ended], 2.0: [delta("Two", "i2")]}
    upstream.at_end = [committed("i2"), completed("Two.", "i2"), completed("One.")]
    assert said(upstream.stream(), SECOND, SECOND) == (["One", "One Two"], " One. Two.")


def test_an_end_that_the_endpoint_has_found_already_is_no_error(upstream: Upstream) -> None:
    ended = [{"type": f"{BUFFER}speech_stopped", "item_id": "i1"}, committed()]
    upstream.after = {1.0: ended}
    upstream.at_end = [problem("input_audio_buffer_commit_empty"), completed("One.")]
    assert said(upstream.stream(), SECOND)[1] == " One."


def test_silence_and_no_audio_at_all(upstream: Upstream) -> None:
    upstream.at_end = [committed(), completed("")]
    assert said(upstream.stream(), SECOND[:160]) == ([""], "")
    assert upstream.seconds == [pytest.approx(0.1, abs=0.01)]
    assert said(upstream.stream()) == ([], "")
    assert upstream.sockets == 1


def test_a_socket_that_is_lost_is_replaced_and_hears_everything_again(upstream: Upstream) -> None:
    upstream.cuts = 2
    stream = upstream.stream()
    stream.accept(SECOND)
    stream.accept(SECOND)
    assert [segment.text for segment in stream.finish().segments] == [" Hello, world."]
    assert upstream.sockets == 3
    assert upstream.seconds[-1] == pytest.approx(2.0, abs=0.01)


def test_tries_are_bounded(upstream: Upstream) -> None:
    upstream.cuts = 9
    with pytest.raises(RemoteFailed, match="cannot be reached"):
        said(upstream.stream(), SECOND)
    assert upstream.sockets == 3


@pytest.mark.parametrize(
    ("facts", "error", "about"),
    [
        ({"refuses": [problem("invalid_api_key")]}, RemoteFailed, "KIKITORI_OPENAI_API_KEY"),
        ({"refuses": [problem("invalid_model")]}, RemoteFailed, "KIKITORI_OPENAI_MODELS"),
        ({"refuses": [problem("invalid_value", "session.model")]}, RemoteFailed, r"It said: No, \[key\]"),
        ({"refuses": [problem("rate_limit_exceeded")]}, Busy, "too much"),
        ({"status": 401}, RemoteFailed, "KIKITORI_OPENAI_API_KEY"),
        ({"status": 429}, Busy, "too much"),
        ({"at_end": [committed(), {"type": f"{TRANSCRIPTION}failed", "item_id": "i1"}]}, RemoteFailed, "failed"),
        ({"at_end": [7]}, RemoteFailed, "as OpenAI's would"),
    ],
    ids=["key", "model", "else", "busy", "401", "429", "failed", "odd"],
)
def test_what_does_not_pass_is_ours_to_tell(
    upstream: Upstream, facts: dict[str, Any], error: type[Exception], about: str
) -> None:
    for name, value in facts.items():
        setattr(upstream, name, value)
    stream = upstream.stream()
    with pytest.raises(error, match=about) as raised:
        said(stream, SECOND)
    assert KEY not in str(raised.value)
    stream.close()
    stream.close()
    assert upstream.sockets <= 1
    assert readers() == []


def test_an_endpoint_that_hangs_is_given_up(upstream: Upstream) -> None:
    upstream.at_end = []
    with pytest.raises(RemoteFailed, match="in time"):
        said(upstream.stream(timeout_seconds=0.2), SECOND)
    assert readers() == []


def test_who_leaves_frees_the_socket_at_once(upstream: Upstream) -> None:
    upstream.at_end = []
    stream = upstream.stream()
    stream.accept(SECOND)
    failures: list[BaseException] = []

    def finish() -> None:
        try:
            stream.finish()
        except DecodingCancelled as exc:
            failures.append(exc)

    finishing = threading.Thread(target=finish)
    finishing.start()
    stream.interrupt()
    finishing.join(30)
    assert failures
    stream.close()
    assert readers() == []
    with pytest.raises(DecodingCancelled):
        stream.accept(SECOND)


def test_an_endpoint_without_an_address_cannot_be_loaded() -> None:
    with pytest.raises(ModelLoadFailed):
        OpenAIRealtimeEngine(EngineConfig(model="whisper-1"))
