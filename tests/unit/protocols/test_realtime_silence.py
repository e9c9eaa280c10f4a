"""Nobody answers a response: after ``idle_timeout_ms`` the silence is committed, and answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.protocols.realtime_client import (
    LISTENING,
    Client,
    Event,
    committed,
    final,
    samples,
    started,
    stopped,
    types,
)
from tests.unit.protocols.test_realtime_responses import ENDED, SECOND, asked, begun, done, talking, update

from kikitori.live.events import EndReason, LiveEvent, NobodySpoke
from kikitori.llm.talking import Said
from kikitori.protocols.actions import AwaitSpeech
from kikitori.protocols.openai_realtime.responding import Replies
from kikitori.replies.events import ReplyEvent, ReplyFailed, ReplySound


def waiting(**detection: Any) -> Client:
    client = talking()
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000, **detection}
    update(client, audio={"input": {"turn_detection": detection, **LISTENING}})
    return client


def waits(client: Client) -> list[tuple[float, float | None]]:
    return [(wish.after, wish.patience) for wish in client.wishes if isinstance(wish, AwaitSpeech)]


def answered(client: Client, *more: ReplyEvent) -> list[Event]:
    return client.told(begun(client), Said(text="Hello?"), *more, ENDED)


def silence(number: int = 5) -> list[LiveEvent]:
    """What the session says of it."""
    return [
        NobodySpoke(utterance=number, start=samples(9.0), end=samples(15.0)),
        committed(number, seconds=1.0, reason=EndReason.UNBROKEN),
        replace(final("", number), reason=EndReason.UNBROKEN),
    ]


def test_somebody_is_waited_for_when_a_response_was_heard() -> None:
    client = waiting()
    answered(client, ReplySound(data=SECOND * 2))
    assert waits(client) == [(2.0, 6.0)]


def test_the_silence_is_told_committed_and_answered() -> None:
    client = waiting()
    answered(client)
    events = client.hear(*silence())
    assert types(events) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "completed",
        "response.created",
    ]
    assert (events[0]["audio_start_ms"], events[0]["audio_end_ms"]) == (9_000, 15_000)
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1
    assert events[4]["transcript"] == ""
    said = asked(client).request.messages[-1]
    assert said == {"role": "user", "content": "(says nothing)"}
    client.told(asked(client).id, Said(text="Are you there?"), ENDED)
    assert waits(client) == [(0.0, 6.0)] * 2
    assert "response.created" in types(client.hear(*silence(6)))


def test_it_is_answered_even_where_turns_are_not() -> None:
    client = waiting(create_response=False)
    answered(client)
    assert types(client.hear(*silence()))[-1] == "response.created"


def test_another_response_ends_the_waiting_and_begins_it_anew() -> None:
    client = waiting()
    answered(client)
    id = begun(client)
    assert waits(client) == [(0.0, 6.0), (0.0, None)]
    client.told(id, ENDED)
    assert waits(client)[-1] == (0.0, 6.0)


def test_after_noise_somebody_is_waited_for_again() -> None:
    client = waiting()
    answered(client)
    client.hear(started(), stopped(), committed(), final(""))
    assert waits(client) == [(0.0, 6.0)] * 2


def test_a_response_that_failed_waits_for_nobody() -> None:
    client = waiting()
    client.told(begun(client), ReplyFailed(code="llm_unavailable", message="Away."))
    assert waits(client) == []


def test_a_response_beside_the_conversation_waits_for_nobody() -> None:
    client = waiting()
    client.told(begun(client, conversation="none", input=[]), ENDED)
    assert waits(client) == []


def test_a_response_that_was_interrupted_is_answered_by_speech() -> None:
    client = waiting()
    id = begun(client)
    client.told(id, ReplySound(data=SECOND))
    assert done(client.hear(started()))["status"] == "cancelled"
    events = client.hear(stopped(), committed(), final("Stop!"))
    assert types(events)[-1] == "response.created"
    assert waits(client)[-1] == (0.0, None)


@pytest.mark.parametrize(
    "detection",
    [None, {"type": "semantic_vad"}, {"type": "server_vad"}, {"type": "server_vad", "idle_timeout_ms": None}],
)
def test_who_does_not_ask_for_it_is_left_alone(detection: Any) -> None:
    client = waiting()
    answered(client)
    update(client, audio={"input": {"turn_detection": detection}})
    assert waits(client) == [(0.0, 6.0), (0.0, None)]
    answered(client)
    assert len(waits(client)) == 2


def test_without_a_language_model_nobody_is_waited_for() -> None:
    client = Client(intent="", model="gpt-realtime", replies=Replies())
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000}
    update(client, audio={"input": {"turn_detection": detection}})
    [created] = client.send("response.create")
    client.told(created["response"]["id"], ReplyFailed(code="llm_unavailable", message="None."))
    assert waits(client) == []


def test_the_beta_has_no_word_for_it_and_answers_all_the_same() -> None:
    client = talking(beta=True)
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000}
    client.send("session.update", session={"turn_detection": detection})
    answered(client)
    events = client.hear(*silence())
    assert types(events) == ["input_audio_buffer.committed", "conversation.item.created", "response.created"]
