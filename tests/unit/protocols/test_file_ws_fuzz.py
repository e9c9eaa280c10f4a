"""Whatever a client sends, and whatever becomes of its files: the rules of the file WebSocket hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.protocols.file_line import info, segment

from kikitori.errors import Busy, InvalidMedia, KikitoriError, TooLarge
from kikitori.options import option_table
from kikitori.protocols.actions import Close, Send
from kikitori.protocols.file_actions import Data, FileAction, Stop, Transcribe
from kikitori.protocols.file_ws import FileSocketCodec, State

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["audio", "size", "model", "save_audio", "file_name", "prompt", "x", *(row.name for row in option_table())]
)
ERRORS = st.sampled_from([InvalidMedia("a"), TooLarge("b", param="size"), Busy("c"), KikitoriError("d")])


@settings(max_examples=500)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.booleans())
def test_any_fields_are_taken_or_answered(fields: dict[str, Any], binary: bool) -> None:
    file = {"size": 10} if binary else {"audio": "UklG"}
    codec = FileSocketCodec(max_bytes=1_000)
    [action, *more] = codec.text(json.dumps({"type": "transcribe", **file, **fields}))
    assert isinstance(action, Transcribe | Send)
    assert all(isinstance(each, Close) for each in more)
    assert (codec.state is State.IDLE) == isinstance(action, Send)
    if isinstance(action, Send):
        action.text.encode()


@given(st.text(max_size=200))
def test_any_text_is_answered(text: str) -> None:
    assert FileSocketCodec(max_bytes=10).text(text)


class Socket(RuleBasedStateMachine):
    """Clients and the connection do what they like, in any order that the connection can do it in."""

    def __init__(self) -> None:
        super().__init__()
        self.codec = FileSocketCodec(max_bytes=1_000)
        self.running = self.stopping = False
        self.expected, self.progress = 0, 0

    def take(self, actions: Any) -> None:
        for action in actions:
            self.take_one(action)

    def take_one(self, action: FileAction) -> None:
        match action:
            case Transcribe():
                assert not self.running
                self.running, self.stopping, self.progress = True, False, 0
                self.expected = action.request.size_bytes or 0
            case Data():
                assert self.running and not self.stopping
                self.expected -= len(action.data)
                assert action.last == (self.expected == 0)
            case Stop():
                assert self.running and not self.stopping
                self.stopping = True
            case Send():
                self.read(json.loads(action.text))

    def read(self, message: dict[str, Any]) -> None:
        assert isinstance(message["done"], bool)
        match message["type"]:
            case "segment":
                assert self.running
                assert self.progress <= message["progress"] <= 100
                self.progress = message["progress"]
            case "final" | "stopped":
                assert self.running
                self.running = False
            case "error":
                assert message["message"] and message["code"]
                if message["done"]:
                    self.running = False
            case kind:
                assert kind in ("info", "queued")

    @rule(size=st.integers(min_value=-1, max_value=1_200))
    def announce(self, size: int) -> None:
        self.take(self.codec.text(json.dumps({"type": "transcribe", "size": size})))

    @rule()
    def send_base64(self) -> None:
        self.take(self.codec.text('{"type":"transcribe","audio":"UklG"}'))

    @rule(size=st.integers(min_value=0, max_value=600))
    def send_bytes(self, size: int) -> None:
        self.take(self.codec.binary(bytes(size)))

    @rule()
    def stop(self) -> None:
        self.take(self.codec.text('{"type":"stop"}'))

    @rule(text=st.text(max_size=20))
    def babble(self, text: str) -> None:
        self.take(self.codec.text(text))

    @precondition(lambda self: self.running and not self.expected)
    @rule(start=st.floats(min_value=0, max_value=1e6), duration=st.none() | st.floats(min_value=0, max_value=1e6))
    def hear(self, start: float, duration: float | None) -> None:
        self.take(self.codec.info(info(duration)))
        self.take(self.codec.segment(segment(start, start + 1)))
        self.take(self.codec.progress(start, duration))

    @precondition(lambda self: self.running and not self.expected)
    @rule()
    def finish(self) -> None:
        heard = self.codec._told.held is not None
        self.take(self.codec.finished("text", language="en", duration=1))
        assert not self.running
        assert not heard or self.progress == 100

    @precondition(lambda self: self.running and self.stopping)
    @rule()
    def be_stopped(self) -> None:
        self.take(self.codec.stopped())

    @precondition(lambda self: self.running)
    @rule(error=ERRORS)
    def fail(self, error: KikitoriError) -> None:
        self.take(self.codec.failed(error))
        assert not self.running

    @precondition(lambda self: self.running)
    @rule()
    def shut_down(self) -> None:
        self.take(self.codec.shutting_down())
        assert not self.running

    @invariant()
    def both_know_whether_a_file_runs(self) -> None:
        assert (self.codec.state is State.IDLE) == (not self.running)


TestSocket = Socket.TestCase
