"""Whatever comes over the plain WebSocket: it is done or answered, and no text is lost or doubled."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocols.live_line import final, interim

from kikitori.errors import InvalidMedia, KikitoriError, ModelNotFound
from kikitori.live.events import Cleared, CommitRefused, Committed, EndReason, FinalFailed, Lag, LiveEvent
from kikitori.protocols.actions import Clear, Close, Commit, Configure, End, Feed, Open, Resume, Send
from kikitori.protocols.live_ws import LiveSocketCodec

NOTHING = np.zeros(0, np.float32)
MAY_BE_SILENT = ("auth", "end", "audio", "audio_end")
"""Already done, or nothing in it."""

names = st.sampled_from(["a", "b", 1])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
audio = st.binary(max_size=6)
named = {"audio_id": names}
good_messages = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("start")},
        optional={
            "lang": st.sampled_from(["ko-KR", "auto", "zh-Hans"]),
            "audio_id": names,
            "interim": st.booleans(),
            "encoding": st.sampled_from(["s16le", "webm-opus"]),
            "resumable": st.booleans(),
        },
    ),
    st.fixed_dictionaries({"type": st.just("end")}, optional=named),
    st.fixed_dictionaries(
        {"type": st.just("audio"), "content": audio.map(lambda data: base64.b64encode(data).decode()), **named}
    ),
    st.fixed_dictionaries({"type": st.just("audio_end"), **named}),
    st.fixed_dictionaries({"type": st.sampled_from(["commit", "clear", "ping"])}, optional={**named, "id": names}),
    st.fixed_dictionaries({"type": st.just("resume"), "token": st.sampled_from(["t", "", "u"])}, optional=named),
    st.just({"type": "auth", "api_key": "sk"}),
)
fields = st.sampled_from(
    "type lang audio_id id token content sample_rate encoding model engine prompt interim endpoint_ms turns threshold "
    "translate_to resumable record words beam_size task hotwords stable".split()
)


@st.composite
def mutated_messages(draw: st.DrawFn) -> str:
    message: dict[str, Any] = dict(draw(good_messages))
    message |= draw(st.dictionaries(fields, json_values, max_size=3))
    for name in draw(st.lists(st.sampled_from(list(message)), max_size=2)):
        message.pop(name, None)
    text = json.dumps(message)
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return text if draw(st.booleans()) else text[:start] + draw(st.text(max_size=5)) + text[end:]


events: st.SearchStrategy[LiveEvent] = st.one_of(
    st.builds(interim, st.sampled_from(["", "he", "hello"]), utterance=st.integers(1, 3)),
    st.builds(final, st.sampled_from(["", "hello"]), utterance=st.integers(1, 3)),
    st.builds(Lag, seconds=st.floats(0, 60)),
    st.builds(Cleared, utterance=st.none() | st.integers(1, 3)),
    st.builds(CommitRefused, samples=st.integers(0, 1_600)),
    st.builds(
        Committed,
        utterance=st.integers(1, 3),
        start=st.just(0),
        end=st.just(9),
        reason=st.sampled_from(EndReason),
        audio=st.just(NOTHING),
    ),
    st.builds(
        FinalFailed,
        utterance=st.integers(1, 3),
        start=st.just(0),
        end=st.just(9),
        code=st.just("x"),
        message=st.text(),
    ),
)
steps = st.one_of(
    st.tuples(st.just("text"), good_messages.map(json.dumps) | mutated_messages() | st.text(max_size=20)),
    st.tuples(st.just("binary"), audio),
    st.tuples(st.just("event"), st.tuples(st.integers(0, 20), events)),
    st.tuples(st.just("opened"), st.integers(0, 20)),
    st.tuples(st.just("refused"), st.integers(0, 20)),
    st.tuples(st.just("failed"), st.integers(0, 20)),
    st.tuples(st.just("received"), st.integers(0, 20)),
    st.tuples(st.just("over"), st.integers(0, 20)),
)


class Server:
    """Sessions as a pump keeps them: each opens or fails, and is over once, after its last words."""

    def __init__(self) -> None:
        self.codec = LiveSocketCodec()
        self.opening: list[str] = []
        self.running: list[str] = []
        self.ending: set[str] = set()
        self.last_words: list[str] = []
        self.said: list[dict[str, Any]] = []

    def act(self, actions: Any) -> None:
        for action in actions:
            match action:
                case Open(stream=stream) | Resume(stream=stream):
                    assert stream not in (*self.opening, *self.running)
                    self.opening.append(stream)
                case Feed(stream=stream) | Commit(stream=stream) | Clear(stream=stream):
                    assert stream in (*self.opening, *self.running)
                    assert stream not in self.ending
                case End(stream=stream):
                    assert stream in (*self.opening, *self.running)
                    assert stream not in self.ending, "ended twice"
                    self.ending.add(stream)
                case Send(text=text):
                    text.encode()
                    self.said.append(json.loads(text))
                    assert isinstance(self.said[-1]["type"], str)
                case Close():
                    pass
                case Configure():
                    raise AssertionError("nothing here changes a session")

    def step(self, kind: str, what: Any) -> None:
        match kind:
            case "text":
                actions = self.codec.text(what)
                assert actions or any(f'"{name}"' in what for name in MAY_BE_SILENT)
                self.act(actions)
            case "binary":
                self.act(self.codec.binary(what))
            case "event" if stream := self.pick(self.running, what[0]):
                self.act(self.codec.event(what[1], stream))
            case "opened" if stream := self.pick(self.opening, what):
                self.open(stream)
            case "refused" if stream := self.pick(self.opening, what):
                self.opening.remove(stream)
                self.act(self.codec.failed(ModelNotFound("x"), stream))
            case "failed" if stream := self.pick(self.running, what):
                error: KikitoriError = InvalidMedia("This is no WebM.")
                self.act(self.codec.failed(error, stream))
            case "received" if stream := self.pick(self.running, what):
                self.act(self.codec.received(stream, what))
            case "over" if stream := self.pick(self.running, what):
                self.finish(stream)

    def open(self, stream: str) -> None:
        self.opening.remove(stream)
        self.running.append(stream)
        self.act(self.codec.ready(stream, token=stream, samples=0, resumed=False))

    def finish(self, stream: str) -> None:
        self.running.remove(stream)
        self.ending.discard(stream)
        words = f"last words of {stream}"
        self.last_words.append(words)
        self.act(self.codec.event(final(words, utterance=99), stream))
        self.act(self.codec.ended(stream))

    def pick(self, streams: list[str], number: int) -> str | None:
        return streams[number % len(streams)] if streams else None


@given(st.lists(steps, max_size=40))
def test_everything_is_done_or_answered_and_nothing_is_lost_or_doubled(done: list[tuple[str, Any]]) -> None:
    server = Server()
    for kind, what in done:
        server.step(kind, what)
    while server.opening:
        server.open(server.opening[0])
    server.act(server.codec.text('{"type":"end"}'))
    while server.running:
        server.finish(server.running[-1])
    texts = Counter(message["text"] for message in server.said if message["type"] == "final")
    assert {words: texts[words] for words in server.last_words} == dict.fromkeys(server.last_words, 1)
    server.said.clear()
    server.act(server.codec.text('{"type":"start"}'))
    server.open(server.opening[0])
    assert server.said[-1]["type"] == "system", "somebody still holds the line"


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_no_frame_raises(frame: str) -> None:
    (action,) = LiveSocketCodec().text(frame)
    assert isinstance(action, Send)
    assert json.loads(action.text)["type"] in ("error", "pong")
