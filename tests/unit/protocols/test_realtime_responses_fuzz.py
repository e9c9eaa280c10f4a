"""Conversations in any order: every response that begins ends once, and every item of it too."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.realtime_client import Client, Event, committed, final, started, stopped

from kikitori.live.events import EndReason, FinalFailed
from kikitori.llm.talking import Called, Ended, Said
from kikitori.protocols.actions import Reply, StopReply
from kikitori.protocols.openai_realtime.responding import Replies
from kikitori.replies.events import ReplyEvent, ReplyFailed, ReplySound, ReplySpoken

TOLD: dict[str, ReplyEvent] = {
    "text": Said(text="Good. "),
    "sound": ReplySound(data=bytes(480)),
    "spoken": ReplySpoken(characters=5),
    "call": Called(index=0, id="c", name="f", arguments="{}"),
    "other call": Called(index=1, arguments="{"),
    "ended": Ended(reason="stop"),
    "cut": Ended(reason="length"),
    "failed": ReplyFailed(code="x", message="y"),
}
STEPS = (
    *(
        "create",
        "create beside",
        "create written",
        "cancel",
        "cancel that",
        "speak",
        "speak in vain",
        "mumble",
        "commit",
    ),
    *("delete", "truncate", "retrieve", "write", "no interruption", "no detection"),
    *TOLD,
)


class Line:
    """One client, and what it must never see."""

    def __init__(self) -> None:
        self.client = Client(intent="", model="gpt-realtime", replies=Replies(configured=True))
        self.utterance = 0
        self.events: list[Event] = []
        self.running: set[str] = set()
        self._wishes = 0

    def do(self, step: str) -> None:
        if step in TOLD:
            for id in sorted(self.running)[:1]:
                self.see(self.client.told(id, TOLD[step]))
            return
        getattr(self, step.replace(" ", "_"))()

    def see(self, events: list[Event]) -> None:
        self.events += events
        for wish in self.client.wishes[self._wishes :]:
            if isinstance(wish, Reply):
                self.running.add(wish.id)
            elif isinstance(wish, StopReply):
                assert wish.id in self.running
        self._wishes = len(self.client.wishes)
        self.running -= {event["response"]["id"] for event in events if event["type"] == "response.done"}

    def send(self, type: str, **fields: Any) -> None:
        self.see(self.client.send(type, **fields))

    def create(self) -> None:
        self.send("response.create")

    def create_beside(self) -> None:
        self.send("response.create", response={"conversation": "none", "input": []})

    def create_written(self) -> None:
        self.send("response.create", response={"output_modalities": ["text"]})

    def cancel(self) -> None:
        self.send("response.cancel")

    def cancel_that(self) -> None:
        self.send("response.cancel", response_id=min(self.running, default="nobody"))

    def speak(self) -> None:
        self.hear(final("Hello.", self.utterance))

    def speak_in_vain(self) -> None:
        self.hear(FinalFailed(utterance=self.utterance, start=0, end=1, code="x", message="y"))

    def mumble(self) -> None:
        self.hear(final("", self.utterance))

    def hear(self, last: Any) -> None:
        number = self.utterance
        self.see(self.client.hear(started(number), stopped(number), committed(number, seconds=0.2), last))
        self.utterance += 1

    def commit(self) -> None:
        number = self.utterance
        said = committed(number, seconds=0.2, reason=EndReason.COMMIT)
        self.see(self.client.hear(said, final("Hello.", number)))
        self.utterance += 1

    def item(self) -> str:
        added = [event["item"]["id"] for event in self.events if event["type"] == "conversation.item.added"]
        return str(added[-1]) if added else "nobody"

    def delete(self) -> None:
        self.send("conversation.item.delete", item_id=self.item())

    def truncate(self) -> None:
        self.send("conversation.item.truncate", item_id=self.item(), content_index=0, audio_end_ms=5)

    def retrieve(self) -> None:
        self.send("conversation.item.retrieve", item_id=self.item())

    def write(self) -> None:
        content = [{"type": "input_text", "text": "Hello."}]
        self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})

    def no_interruption(self) -> None:
        self.turns({"type": "server_vad", "interrupt_response": False})

    def no_detection(self) -> None:
        self.turns(None)

    def turns(self, detection: Any) -> None:
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        self.send("session.update", session=session)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_whatever_comes_responses_begin_and_end_once(steps: list[str]) -> None:
    line = Line()
    for step in steps:
        line.do(step)
    while line.running:
        line.do("ended")

    begun = [event["response"]["id"] for event in line.events if event["type"] == "response.created"]
    done = [event["response"]["id"] for event in line.events if event["type"] == "response.done"]
    assert len(begun) == len(set(begun))
    assert Counter(begun) == Counter(done)
    added = [event["item"]["id"] for event in line.events if event["type"] == "response.output_item.added"]
    ended = [event["item"]["id"] for event in line.events if event["type"] == "response.output_item.done"]
    assert Counter(added) == Counter(ended)
    _check_order(line.events)


def _check_order(events: list[Event]) -> None:
    """Nothing is told of a response that has not begun or is over; one of the conversation at a time."""
    open_responses: dict[str, bool] = {}
    for event in events:
        if event["type"] == "response.created":
            in_conversation = event["response"]["conversation_id"] is not None
            assert not (in_conversation and any(open_responses.values()))
            open_responses[event["response"]["id"]] = in_conversation
        elif event["type"] == "response.done":
            del open_responses[event["response"]["id"]]
        elif "response_id" in event:
            assert event["response_id"] in open_responses
