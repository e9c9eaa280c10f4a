"""Audio that clients put in as items: it becomes text, for them and for whoever answers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.unit.protocols.realtime_client import LISTENING, Client, Event, committed, error, final, types
from tests.unit.protocols.test_realtime_responses import asked, begun, done, talking, update

from kikitori.errors import Busy, InvalidMedia
from kikitori.live.events import FinalFailed
from kikitori.live.options import TurnDetection
from kikitori.protocols.actions import Encoding, End, Feed, Open, Reply
from kikitori.protocols.openai_realtime import given_audio

SECOND = b"\1\0" * 24_000
OTHER = b"\2\0" * 24_000


def audio(data: bytes = SECOND, **more: Any) -> dict[str, Any]:
    return {"type": "input_audio", "audio": base64.b64encode(data).decode(), **more}


def spoken(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(parts), **more}


def give(client: Client, *parts: dict[str, Any]) -> str:
    events = client.send("conversation.item.create", item=spoken(*parts))
    assert types(events) == ["conversation.item.added", "conversation.item.done"]
    return str(events[0]["item"]["id"])


def opened(client: Client) -> list[Open]:
    """Sessions beside the conversation's."""
    return [wish for wish in client.wishes if isinstance(wish, Open) and wish.stream]


def understood(events: list[Event]) -> list[tuple[str, int, str]]:
    return [
        (event["item_id"], event["content_index"], event["transcript"])
        for event in events
        if event["type"].endswith("transcription.completed")
    ]


def test_it_is_heard_as_a_turn_of_its_own_and_the_response_waits_for_it() -> None:
    client = talking()
    update(client, audio={"input": {"transcription": {"model": "small", "language": "de"}}})
    id = give(client, audio())
    [session] = opened(client)
    assert client.wishes[-3:] == [
        session,
        Feed(data=SECOND, stream=session.stream),
        End(stream=session.stream),
    ]
    assert (session.options.turns, session.options.interim) == (TurnDetection.MANUAL, False)
    assert (session.options.model, session.options.decode.language) == ("small", "de")
    begun(client)
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    events = client.hear_apart(session.stream, final("How is it in Rome?", 7, language="de"))
    assert types(events) == ["delta", "completed"]
    assert understood(events) == [(id, 0, "How is it in Rome?")]
    request = asked(client).request
    assert request.messages[-1] == {"role": "user", "content": "How is it in Rome?"}
    assert request.spoken is not None
    assert request.spoken.language == "de"
    [retrieved] = client.send("conversation.item.retrieve", item_id=id)
    assert retrieved["item"]["content"][0]["transcript"] == "How is it in Rome?"
    assert base64.b64decode(retrieved["item"]["content"][0]["audio"]) == SECOND


def test_who_does_not_read_it_is_not_told_and_the_model_reads_it_all_the_same() -> None:
    client = talking()
    id = give(client, audio())
    begun(client)
    assert client.hear_apart(opened(client)[0].stream, final("Hello.")) == []
    assert asked(client).request.messages[-1]["content"] == "Hello."
    [retrieved] = client.send("conversation.item.retrieve", item_id=id)
    assert retrieved["item"]["content"][0]["transcript"] is None


def test_a_session_that_only_listens_writes_it_down() -> None:
    client = Client(listening=LISTENING)
    id = give(client, audio())
    events = client.hear_apart(opened(client)[0].stream, final("One."), final("Two.", 1))
    assert understood(events) == [(id, 0, "One. Two.")]
    assert events[-1]["usage"]["seconds"] == 2.0


def test_where_nobody_wants_text_it_is_only_kept() -> None:
    for client in (Client(), Client(intent="", model="gpt-realtime")):
        give(client, audio())
        assert opened(client) == []


def test_a_transcript_that_comes_with_it_is_taken() -> None:
    client = talking()
    give(client, audio(transcript="Bonjour."))
    begun(client)
    assert opened(client) == []
    assert asked(client).request.messages[-1]["content"] == "Bonjour."


def test_parts_are_heard_one_after_the_other_and_keep_their_places() -> None:
    client = talking()
    update(client, audio={"input": {**LISTENING, "format": {"type": "audio/pcmu"}}})
    id = give(client, audio(), {"type": "input_text", "text": "and"}, audio(OTHER))
    begun(client)
    [first] = opened(client)
    assert first.format.encoding is Encoding.MULAW
    assert understood(client.hear_apart(first.stream, final("One"))) == [(id, 0, "One")]
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    _, second = opened(client)
    assert Feed(data=OTHER, stream=second.stream) in client.wishes
    assert understood(client.hear_apart(second.stream, final("two"))) == [(id, 2, "two")]
    assert asked(client).request.messages[-1]["content"] == "One\nand\ntwo"


def test_silence_is_an_empty_transcript() -> None:
    client = Client(listening=LISTENING)
    id = give(client, audio())
    assert understood(client.hear_apart(opened(client)[0].stream)) == [(id, 0, "")]


@pytest.mark.parametrize("when", ["decoding", "opening", "reading"])
def test_what_cannot_be_heard_fails_and_the_conversation_goes_on(when: str) -> None:
    client = talking()
    update(client, audio={"input": LISTENING})
    give(client, audio())
    begun(client)
    stream = opened(client)[0].stream
    if when == "decoding":
        failed = FinalFailed(utterance=0, start=0, end=1, code="model_load_failed", message="Broken.")
        events = client.hear_apart(stream, failed)
    else:
        problem = Busy("Full.", retry_after=1) if when == "opening" else InvalidMedia("Odd.")
        events = client.take(client.codec.failed(problem, stream))
        assert client.take(client.codec.ended(stream)) == []
    assert types(events) == ["failed"]
    assert client.closed is None
    assert "not understood" in asked(client).request.messages[-1]["content"]


def test_the_context_of_a_response_is_understood_first() -> None:
    client = talking()
    update(client, audio={"input": LISTENING})
    beside = begun(client, conversation="none", input=[spoken(audio()), spoken({"type": "input_text", "text": "x"})])
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    events = client.hear_apart(opened(client)[0].stream, final("Hello."))
    assert understood(events) == []
    assert asked(client).id == beside
    assert [message["content"] for message in asked(client).request.messages[1:]] == ["Hello.", "x"]


def test_a_reference_to_what_is_being_heard_is_waited_for() -> None:
    client = talking()
    id = give(client, audio())
    other = begun(client, conversation="none", input=[])
    assert asked(client).id == other
    beside = begun(client, conversation="none", input=[{"type": "item_reference", "id": id}])
    assert asked(client).id == other
    client.hear_apart(opened(client)[0].stream, final("Hello."))
    assert asked(client).id == beside
    assert asked(client).request.messages[-1]["content"] == "Hello."


def test_what_was_deleted_meanwhile_is_told_to_nobody() -> None:
    client = talking()
    update(client, audio={"input": LISTENING})
    id = give(client, audio())
    client.send("conversation.item.delete", item_id=id)
    begun(client)
    assert client.hear_apart(opened(client)[0].stream, final("Hello.")) == []
    assert [message["role"] for message in asked(client).request.messages] == ["system"]


def test_what_waits_is_bounded_and_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_audio, "MAX_WAITING_BYTES", len(SECOND))
    client = talking()
    give(client, audio())  # it is being heard, and does not wait
    give(client, audio())
    refused = client.send("conversation.item.create", item=spoken(audio(), id="mine"))
    assert error(refused) == ("rate_limit_exceeded", "item")
    assert error(client.send("conversation.item.retrieve", item_id="mine"))[0] == "item_retrieve_invalid_item_id"
    client.hear_apart(opened(client)[0].stream, final("Hello."))
    give(client, audio())


def test_a_turn_is_answered_only_when_it_is_understood_as_well() -> None:
    client = talking()
    give(client, audio())
    events = client.hear(committed(), final("And?"))
    assert "response.created" not in types(events)
    events = client.hear_apart(opened(client)[0].stream, final("What is it?"))
    assert types(events) == ["response.created"]
    assert [message["content"] for message in asked(client).request.messages[1:]] == ["What is it?", "And?"]
    assert done(client.send("response.cancel"))["status"] == "cancelled"
