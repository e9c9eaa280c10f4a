"""Responses: when they are made, what they know, how they are told, and what stops them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.protocols.realtime_client import Client, Event, committed, error, final, started, stopped, types

from kikitori.audio.pcm import Encoding
from kikitori.live.events import Cleared, CommitRefused, EndReason, FinalFailed
from kikitori.llm.talking import Called, Ended, Said, TokenUsage
from kikitori.protocols.actions import Configure, Open, Reply, StopReply
from kikitori.protocols.openai_realtime import responding
from kikitori.protocols.openai_realtime.responding import Replies
from kikitori.replies.events import ReplyFailed, ReplySound, ReplySpoken

SECOND = b"\1\0" * 24_000
ENDED = Ended(reason="stop", usage=TokenUsage(input_tokens=20, output_tokens=5, cached_tokens=8))
TOOL = {"type": "function", "name": "weather", "description": "Of a town.", "parameters": {"type": "object"}}


def talking(**facts: Any) -> Client:
    """A conversation with a server that answers."""
    return Client(intent="", model="gpt-realtime", replies=Replies(configured=True), **facts)


def update(client: Client, **session: Any) -> None:
    assert types(client.send("session.update", session={"type": "realtime", **session})) == ["session.updated"]


def say(client: Client, text: str) -> None:
    part = {"type": "input_text", "text": text}
    client.send("conversation.item.create", item={"type": "message", "role": "user", "content": [part]})


def asked(client: Client) -> Reply:
    """The reply that was wanted last."""
    return [wish for wish in client.wishes if isinstance(wish, Reply)][-1]


def stopped_replies(client: Client) -> list[str]:
    return [wish.id for wish in client.wishes if isinstance(wish, StopReply)]


def begun(client: Client, **response: Any) -> str:
    """The id of a response that the client asked for."""
    events = client.send("response.create", **({"response": response} if response else {}))
    assert types(events) == ["response.created"]
    assert events[0]["response"]["status"] == "in_progress"
    return str(events[0]["response"]["id"])


def done(events: list[Event]) -> Mapping[str, Any]:
    [event] = [event for event in events if event["type"] == "response.done"]
    response: Mapping[str, Any] = event["response"]
    return response


# How a response is told ------------------------------------------------------------------------------------------


def test_a_spoken_response_is_told_in_openais_order() -> None:
    client = talking()
    say(client, "Hello")
    id = begun(client)
    events = client.told(
        id,
        Said(text="Good "),
        Said(text="morning."),
        ReplySound(data=SECOND),
        ReplySpoken(characters=13),
        ENDED,
    )
    assert types(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert {event["response_id"] for event in events if "response_id" in event} == {id}
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1
    assert base64.b64decode(events[5]["delta"]) == SECOND
    assert events[7]["transcript"] == "Good morning."
    response = done(events)
    assert response["status"] == "completed"
    assert response["status_details"] is None
    [item] = response["output"]
    assert (item["role"], item["status"]) == ("assistant", "completed")
    assert item["content"] == [{"type": "output_audio", "transcript": "Good morning."}]
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (20, 5, 25)
    assert usage["input_token_details"]["cached_tokens"] == 8


def test_a_written_response_has_no_sound() -> None:
    client = talking()
    id = begun(client, output_modalities=["text"])
    assert asked(client).request.spoken is None
    events = client.told(id, Said(text="Good morning."), ENDED)
    assert types(events)[3:6] == [
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
    ]
    assert done(events)["output"][0]["content"] == [{"type": "output_text", "text": "Good morning."}]
    assert done(events)["output_modalities"] == ["text"]


def test_a_response_that_says_nothing_has_no_item() -> None:
    client = talking()
    response = done(client.told(begun(client), ENDED))
    assert (response["status"], response["output"]) == ("completed", [])


def test_functions_are_called_side_by_side() -> None:
    client = talking()
    update(client, tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    id = begun(client)
    request = asked(client).request
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert request.tools == ({"type": "function", "function": function},)
    assert request.tool_choice == {"type": "function", "function": {"name": "weather"}}
    events = client.told(
        id,
        Said(text="One moment."),
        Called(index=0, id="call_a", name="weather", arguments='{"town": '),
        Called(index=1, id="call_b", name="weather"),
        Called(index=0, arguments='"Rome"}'),
        Called(index=1, arguments='{"town": "Oslo"}'),
        Ended(reason="tool_calls"),
    )
    finished = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["call_id"], event["arguments"]) for event in finished] == [
        ("call_a", '{"town": "Rome"}'),
        ("call_b", '{"town": "Oslo"}'),
    ]
    output = done(events)["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert {item["status"] for item in output} == {"completed"}

    for call, result in (("call_b", "cold"), ("call_a", "warm")):
        item = {"type": "function_call_output", "call_id": call, "output": result}
        client.send("conversation.item.create", item=item)
    say(client, "And?")
    begun(client)
    roles = [(message["role"], message["content"]) for message in asked(client).request.messages[1:]]
    assert roles == [
        ("assistant", "One moment."),
        ("assistant", None),
        ("tool", "warm"),
        ("tool", "cold"),
        ("user", "And?"),
    ]
    calls = asked(client).request.messages[2]["tool_calls"]
    assert [call["id"] for call in calls] == ["call_a", "call_b"]
    assert asked(client).request.messages[3]["tool_call_id"] == "call_a"


@pytest.mark.parametrize(
    ("ending", "status", "details"),
    [
        (Ended(reason="length"), "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}),
        (Ended(reason="content_filter"), "incomplete", {"type": "incomplete", "reason": "content_filter"}),
        (
            ReplyFailed(code="llm_unavailable", message="It is away."),
            "failed",
            {
                "type": "failed",
                "error": {"type": "server_error", "code": "llm_unavailable", "message": "It is away."},
            },
        ),
    ],
)
def test_what_ends_otherwise_says_why(ending: Any, status: str, details: Mapping[str, Any]) -> None:
    client = talking()
    response = done(client.told(begun(client), Said(text="Good"), ending))
    assert (response["status"], response["status_details"]) == (status, details)
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] > 0
    begun(client)  # the conversation goes on


def test_a_model_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responding, "MAX_REPLY", 10)
    client = talking()
    id = begun(client)
    response = done(client.told(id, Said(text="Good morning to you.")))
    assert response["status_details"]["reason"] == "max_output_tokens"
    assert stopped_replies(client) == [id]
    assert client.told(id, Said(text="more"), ENDED) == []


# What it knows ---------------------------------------------------------------------------------------------------


def test_the_conversation_is_what_the_model_reads() -> None:
    client = talking()
    update(client, instructions="Be kind.")
    client.hear(started(), stopped(), committed(), final("What is up?"))
    client.told(asked(client).id, Said(text="Not much."), ENDED)
    say(client, "Really?")
    begun(client)
    assert [(message["role"], message["content"]) for message in asked(client).request.messages] == [
        ("system", "Be kind."),
        ("user", "What is up?"),
        ("assistant", "Not much."),
        ("user", "Really?"),
    ]


def test_a_response_may_have_a_context_and_wishes_of_its_own() -> None:
    client = talking()
    say(client, "Hello")
    [item] = [event["item"]["id"] for event in client.send("conversation.item.create", item=_user("Bye"))[:1]]
    begun(
        client,
        instructions="Be rude.",
        input=[_user("Who are you?"), {"type": "item_reference", "id": item}],
        max_output_tokens=50,
        tool_choice="none",
        audio={"output": {"voice": "sage", "format": {"type": "audio/pcmu"}}},
    )
    request = asked(client).request
    assert [message["content"] for message in request.messages] == ["Be rude.", "Who are you?", "Bye"]
    assert request.max_tokens == 50
    assert request.spoken is not None
    assert (request.spoken.voice, request.spoken.encoding, request.spoken.rate) == ("sage", Encoding.MULAW, 8_000)


def test_how_a_model_thinks_and_calls_is_handed_on() -> None:
    client = talking()
    update(client, tools=[TOOL])
    client.told(begun(client), ENDED)
    assert (asked(client).request.parallel_tool_calls, asked(client).request.effort) == (None, "")
    update(client, parallel_tool_calls=False, reasoning={"effort": "low"})
    client.told(begun(client), ENDED)
    assert (asked(client).request.parallel_tool_calls, asked(client).request.effort) == (False, "low")
    begun(client, parallel_tool_calls=True, reasoning={"effort": "high"})
    assert (asked(client).request.parallel_tool_calls, asked(client).request.effort) == (True, "high")


def test_no_context_is_none() -> None:
    client = talking()
    say(client, "Hello")
    begun(client, input=[], instructions="")
    assert asked(client).request.messages == ()


def test_pictures_are_handed_on() -> None:
    client = talking()
    content = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": "data:image/png;,"}]
    client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    begun(client)
    assert asked(client).request.messages[-1]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;,", "detail": "auto"}},
    ]


def test_what_is_oldest_is_left_out_when_it_is_too_much() -> None:
    client = Client(intent="", model="gpt-realtime", replies=Replies(configured=True, context_tokens=400))
    for number in range(30):
        say(client, f"This is sentence number {number}.")
    begun(client, instructions="Be kind.")
    said = [message["content"] for message in asked(client).request.messages]
    assert said[0] == "Be kind."
    assert said[-1].endswith("29.")
    assert 3 < len(said) < 20


def test_what_it_said_is_known_only_as_far_as_it_was_heard() -> None:
    client = talking()
    id = begun(client)
    events = client.told(
        id,
        Said(text="One two three. Four five six."),
        ReplySound(data=SECOND),
        ReplySpoken(characters=14),
        ReplySound(data=SECOND),
        ReplySpoken(characters=29),
        ENDED,
    )
    item = done(events)["output"][0]["id"]
    wrong = client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=2_001)
    assert error(wrong) == ("invalid_value", "audio_end_ms")
    assert error(client.send("conversation.item.truncate", item_id=item, content_index=1, audio_end_ms=1)) == (
        "invalid_value",
        "content_index",
    )
    [cut] = client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1_500)
    assert (cut["type"], cut["audio_end_ms"]) == ("conversation.item.truncated", 1_500)
    [event] = client.send("conversation.item.retrieve", item_id=item)
    [part] = event["item"]["content"]
    assert part["transcript"] == "One two three. Four"
    assert len(base64.b64decode(part["audio"])) == 1.5 * len(SECOND)
    client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
    [event] = client.send("conversation.item.retrieve", item_id=item)
    assert event["item"]["content"][0]["transcript"] == ""
    begun(client)
    assert [message["role"] for message in asked(client).request.messages] == ["system"]


def test_a_response_beside_the_conversation_leaves_no_trace() -> None:
    client = talking()
    say(client, "Hello")
    inside = begun(client)
    beside = begun(client, conversation="none", metadata={"topic": "x"}, output_modalities=["text"])
    events = client.told(beside, Said(text="Aside."), ENDED)
    assert not [event for event in events if event["type"].startswith("conversation.")]
    assert done(events)["conversation_id"] is None
    assert done(events)["metadata"] == {"topic": "x"}
    assert done(client.told(inside, Said(text="Hi."), ENDED))["conversation_id"].startswith("conv_")
    begun(client)
    assert [message["content"] for message in asked(client).request.messages[1:]] == ["Hello", "Hi."]


# When it is made -------------------------------------------------------------------------------------------------


def test_a_turn_is_answered_when_it_is_understood() -> None:
    client = talking()
    assert types(client.hear(started(), stopped(), committed()))[-1] == "conversation.item.done"
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    assert types(client.hear(final("Hello", language="de"))) == ["response.created"]
    request = asked(client).request
    assert request.messages[-1] == {"role": "user", "content": "Hello"}
    assert request.spoken is not None
    assert request.spoken.language == "de"


def test_what_the_client_does_not_read_is_understood_all_the_same() -> None:
    client = talking()
    [opened] = [wish for wish in client.wishes if isinstance(wish, Open)]
    assert (opened.options.interim, opened.options.min_speech_ms) == (False, 200)
    [event] = client.hear(started(), stopped(), committed(), final("Hello"))[-1:]
    assert event["type"] == "response.created"
    assert client.hear(committed(1, reason=EndReason.COMMIT))[-1]["item"]["content"][0]["transcript"] is None


def test_noise_is_not_answered() -> None:
    client = talking()
    assert "response.created" not in types(client.hear(started(), stopped(), committed(), final("  ")))


def test_a_turn_that_could_not_be_understood_fails() -> None:
    client = talking()
    failed = FinalFailed(utterance=0, start=0, end=1, code="model_load_failed", message="Broken.")
    response = done(client.hear(started(), stopped(), committed(), failed))
    assert (response["status"], response["status_details"]["error"]["code"]) == ("failed", "model_load_failed")


def test_while_somebody_speaks_again_it_waits() -> None:
    client = talking()
    client.hear(started(), stopped(), committed(), started(1, at=2.6))
    assert client.hear(final("One.")) == []
    client.hear(stopped(1), committed(1))
    assert types(client.hear(final("Two.", 1))) == ["response.created"]
    assert [message["content"] for message in asked(client).request.messages[1:]] == ["One.", "Two."]


def test_what_was_spoken_and_cleared_is_waited_for_no_longer() -> None:
    client = talking()
    client.hear(started(), stopped(), committed(), started(1, at=2.6), final("One."))
    assert types(client.hear(Cleared(utterance=1))) == ["input_audio_buffer.cleared", "response.created"]


@pytest.mark.parametrize(
    "detection",
    [None, {"type": "server_vad", "create_response": False}, {"type": "semantic_vad", "create_response": False}],
)
def test_turns_are_not_answered_unless_wanted(detection: Any) -> None:
    client = talking()
    update(client, audio={"input": {"turn_detection": detection}})
    reason = EndReason.COMMIT if detection is None else EndReason.PAUSE
    assert "response.created" not in types(client.hear(committed(reason=reason), final("Hello")))
    begun(client)
    assert asked(client).request.messages[-1]["content"] == "Hello"


def test_a_response_waits_for_what_was_said_before_it() -> None:
    client = talking()
    update(client, audio={"input": {"turn_detection": None}})
    client.hear(committed(reason=EndReason.COMMIT), committed(1, reason=EndReason.COMMIT))
    id = begun(client)
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    client.hear(final("One."))
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    client.hear(final("Two.", 1))
    assert asked(client).id == id
    assert [message["content"] for message in asked(client).request.messages[1:]] == ["One.", "Two."]


def test_a_response_waits_for_a_commit_that_is_on_its_way() -> None:
    client = talking()
    update(client, audio={"input": {"turn_detection": None}})
    client.send("input_audio_buffer.commit")
    id = begun(client)
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    client.hear(committed(reason=EndReason.COMMIT))
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]
    client.hear(final("One."))
    assert (asked(client).id, asked(client).request.messages[-1]["content"]) == (id, "One.")


def test_a_commit_of_too_little_is_not_waited_for() -> None:
    client = talking()
    client.send("input_audio_buffer.commit")
    id = begun(client)
    client.hear(CommitRefused(samples=10))
    assert asked(client).id == id


def test_a_server_without_a_language_model_only_listens() -> None:
    client = Client(intent="", model="gpt-realtime")
    assert "response.created" not in types(client.hear(started(), stopped(), committed(), final("Hello")))
    [created] = client.send("response.create")
    assert asked(client).id == created["response"]["id"]  # and whoever makes it says why it fails


def test_without_a_language_model_nothing_is_waited_for() -> None:
    client = Client(intent="", model="gpt-realtime")
    client.hear(started(), stopped(), committed())
    [created] = client.send("response.create")
    assert asked(client).id == created["response"]["id"]


# What stops it ---------------------------------------------------------------------------------------------------


def test_there_is_one_response_at_a_time() -> None:
    client = talking()
    id = begun(client)
    refused = client.send("response.create", event_id="e1")
    assert error(refused) == ("conversation_already_has_active_response", None)
    assert refused[0]["error"]["event_id"] == "e1"
    assert done(client.told(id, ENDED))["status"] == "completed"


def test_beside_the_conversation_there_are_a_few() -> None:
    client = talking()
    for _ in range(responding.MAX_BESIDE):
        begun(client, conversation="none")
    assert error(client.send("response.create", response={"conversation": "none"}))[0] == "rate_limit_exceeded"


@pytest.mark.parametrize("named", [True, False])
def test_the_client_cancels(named: bool) -> None:
    client = talking()
    id = begun(client)
    client.told(id, Said(text="Good "), ReplySound(data=SECOND))
    events = client.send("response.cancel", **({"response_id": id} if named else {}))
    assert types(events)[:2] == ["response.output_audio.done", "response.output_audio_transcript.done"]
    response = done(events)
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["status"] == "incomplete"
    assert stopped_replies(client) == [id]
    assert client.told(id, ReplySound(data=SECOND), ENDED) == []
    assert error(client.send("response.cancel"))[0] == "response_cancel_not_active"


def test_a_response_that_still_waits_is_cancelled_too() -> None:
    client = talking()
    update(client, audio={"input": {"turn_detection": None}})
    client.hear(committed(reason=EndReason.COMMIT))
    begun(client)
    assert done(client.send("response.cancel"))["status"] == "cancelled"
    assert stopped_replies(client) == []
    assert client.hear(final("Too late.")) == []


def test_an_unknown_response_is_not_cancelled() -> None:
    client = talking()
    begun(client)
    assert error(client.send("response.cancel", response_id="resp_x")) == ("response_cancel_not_active", "response_id")


def test_speech_interrupts() -> None:
    client = talking()
    id = begun(client)
    client.told(id, Said(text="Good "), ReplySound(data=SECOND))
    events = client.hear(started())
    assert types(events)[0] == "input_audio_buffer.speech_started"
    assert done(events)["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert stopped_replies(client) == [id]
    assert types(client.hear(stopped(), committed(), final("Stop!")))[-1] == "response.created"


def test_speech_that_shall_not_interrupt_is_answered_afterwards() -> None:
    client = talking()
    update(client, audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    id = begun(client)
    assert "response.done" not in types(client.hear(started(), stopped(), committed(), final("Hello")))
    assert types(client.told(id, ENDED)) == ["response.done", "rate_limits.updated", "response.created"]


def test_the_voice_stays_once_it_was_heard() -> None:
    client = talking()
    update(client, audio={"output": {"voice": "sage"}})
    id = begun(client)
    client.told(id, ReplySound(data=SECOND), ENDED)
    changed = {"type": "realtime", "audio": {"output": {"voice": "echo"}}}
    refused = client.send("session.update", session=changed)
    assert error(refused) == ("cannot_update_voice", "session.audio.output.voice")
    update(client, audio={"output": {"voice": "sage", "speed": 1.5}})


# What is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "code", "param"),
    [
        (7, "invalid_type", "response"),
        ({"volume": 11}, "unknown_parameter", "response.volume"),
        ({"output_modalities": []}, "invalid_value", "response.output_modalities"),
        ({"conversation": "mine"}, "invalid_value", "response.conversation"),
        ({"reasoning": {"effort": "endless"}}, "invalid_value", "response.reasoning.effort"),
        ({"max_output_tokens": 0}, "integer_below_min_value", "response.max_output_tokens"),
        ({"metadata": {str(n): "" for n in range(17)}}, "object_above_max_properties", "response.metadata"),
        ({"metadata": {"a": 1}}, "invalid_type", "response.metadata.a"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "invalid_value", "response.input[0].id"),
        ({"input": [{"type": "message", "role": "user"}]}, "missing_required_parameter", "response.input[0].content"),
        ({"audio": {"output": {"format": {"type": "mp3"}}}}, "invalid_value", "response.audio.output.format.type"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(response: Any, code: str, param: str) -> None:
    client = talking()
    assert error(client.send("response.create", response=response)) == (code, param)
    assert not [wish for wish in client.wishes if isinstance(wish, Reply)]


def test_a_session_that_only_listens_has_no_responses() -> None:
    client = Client(replies=Replies(configured=True))
    assert error(client.send("response.create")) == ("invalid_value", "type")
    assert "response.created" not in types(client.hear(started(), stopped(), committed(), final("Hello")))


def test_an_update_that_changes_nothing_audible_configures_nothing() -> None:
    client = talking()
    update(client, instructions="Be kind.", audio={"output": {"speed": 1.2}})
    assert not [wish for wish in client.wishes if isinstance(wish, Configure)]


# The beta --------------------------------------------------------------------------------------------------------


def test_the_beta_has_other_names() -> None:
    client = talking(beta=True)
    wanted = {"modalities": ["audio", "text"], "voice": "sage", "output_audio_format": "g711_ulaw", "temperature": 0.7}
    [created] = client.send("response.create", response={**wanted, "max_response_output_tokens": 9})
    request = asked(client).request
    assert request.spoken is not None
    assert (request.spoken.voice, request.spoken.encoding) == ("sage", Encoding.MULAW)
    assert (request.max_tokens, request.temperature) == (9, 0.7)
    events = client.told(
        created["response"]["id"],
        Said(text="Good."),
        ReplySound(data=b"\1\2"),
        Called(index=0, name="x"),
        ENDED,
    )
    assert types(events) == [
        "response.output_item.added",
        "conversation.item.created",
        "response.content_part.added",
        "response.audio_transcript.delta",
        "response.audio.delta",
        "response.output_item.added",
        "conversation.item.created",
        "response.audio.done",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    response = done(events)
    assert (response["modalities"], response["voice"]) == (["audio", "text"], "sage")
    assert response["output_audio_format"] == "g711_ulaw"
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": "Good."}]


def _user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
