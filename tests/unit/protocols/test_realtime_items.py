"""Items that clients put into the conversation, ask for, and take out; and frames that make no sense."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.realtime_client import LISTENING, Client, committed, error, final, types

from kikitori.protocols.openai_realtime import conversation

HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


def create(client: Client, item: dict[str, Any] = HELLO, **fields: Any) -> str:
    """The id of a new item."""
    added, done = client.send("conversation.item.create", item=item, **fields)
    assert types([added, done]) == ["conversation.item.added", "conversation.item.done"]
    assert added["item"] == done["item"]
    assert added["previous_item_id"] == done["previous_item_id"]
    return str(done["item"]["id"])


@pytest.mark.parametrize("previous", [{}, {"previous_item_id": ""}, {"previous_item_id": None}])
def test_an_item_is_put_at_the_end(previous: dict[str, Any]) -> None:
    client = Client()
    first = create(client)
    _, done = client.send("conversation.item.create", item=HELLO, **previous)
    assert done["previous_item_id"] == first
    assert done["item"] == {**HELLO, "status": "completed", "id": done["item"]["id"]}


def test_an_item_is_put_behind_another_one_or_in_front() -> None:
    client = Client()
    first, second = create(client), create(client)
    _, between = client.send("conversation.item.create", item=HELLO, previous_item_id=first)
    assert between["previous_item_id"] == first
    _, front = client.send("conversation.item.create", item=HELLO, previous_item_id="root")
    assert front["previous_item_id"] is None
    _, last = client.send("conversation.item.create", item=HELLO)
    assert last["previous_item_id"] == second


def test_behind_an_item_that_is_not_there_nothing_is_added() -> None:
    client = Client()
    first = create(client)
    refused = client.send("conversation.item.create", item=HELLO, previous_item_id="nobody", event_id="e1")
    assert error(refused) == ("invalid_value", "previous_item_id")
    assert refused[0]["error"]["event_id"] == "e1"
    assert client.send("conversation.item.create", item=HELLO)[0]["previous_item_id"] == first


def test_spoken_and_written_items_are_one_conversation() -> None:
    client = Client(listening=LISTENING)
    written = create(client)
    spoken = client.hear(committed())[0]
    assert spoken["previous_item_id"] == written
    assert client.send("conversation.item.create", item=HELLO)[0]["previous_item_id"] == spoken["item_id"]


def test_clients_may_name_their_items_once() -> None:
    client = Client()
    assert create(client, {**HELLO, "id": "mine"}) == "mine"
    assert error(client.send("conversation.item.create", item={**HELLO, "id": "mine"})) == ("invalid_value", "item.id")


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}],
        },
        {"type": "function_call", "name": "dance", "arguments": "{}", "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
        {"type": "mcp_list_tools", "server_label": "s", "tools": []},
        {"type": "mcp_call", "server_label": "s", "name": "n", "arguments": "{}"},
        {"type": "mcp_approval_request", "server_label": "s", "name": "n", "arguments": "{}"},
    ],
)
def test_items_of_every_type(item: dict[str, Any]) -> None:
    client = Client()
    id = create(client, item)
    [retrieved] = client.send("conversation.item.retrieve", item_id=id)
    assert retrieved["item"] == {**item, "id": id, "status": "completed"}


def test_audio_of_clients_is_kept_and_not_echoed() -> None:
    client = Client()
    data = bytes(range(240))
    content = [{"type": "input_audio", "audio": base64.b64encode(data).decode()}]
    added, _ = client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    [retrieved] = client.send("conversation.item.retrieve", item_id=added["item"]["id"])
    assert base64.b64decode(retrieved["item"]["content"][0]["audio"]) == data


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        (None, "invalid_type", "item"),
        ({}, "missing_required_parameter", "item.type"),
        ({"type": "letter"}, "invalid_value", "item.type"),
        ({"type": "message"}, "missing_required_parameter", "item.role"),
        ({"type": "message", "role": "boss"}, "invalid_value", "item.role"),
        ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        ({**HELLO, "colour": "red"}, "unknown_parameter", "item.colour"),
        ({**HELLO, "id": "x" * 65}, "string_above_max_length", "item.id"),
        ({**HELLO, "content": [{"type": "input_text"}]}, "missing_required_parameter", "item.content[0].text"),
        ({**HELLO, "content": [{"type": "output_text", "text": ""}]}, "invalid_value", "item.content[0].type"),
        ({**HELLO, "content": [{"type": "input_audio", "audio": "?"}]}, "invalid_value", "item.content[0].audio"),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": "AAAA"}]},
            "invalid_value",
            "item.content[0]",
        ),
        ({"type": "function_call_output", "output": ""}, "missing_required_parameter", "item.call_id"),
        ({**HELLO, "content": [{"type": "input_text", "text": "é" * 200_000}]}, "string_above_max_length", "item"),
    ],
)
def test_a_wrong_item_is_not_added(item: Any, code: str, param: str) -> None:
    client = Client()
    assert error(client.send("conversation.item.create", item=item)) == (code, param)
    assert client.send("conversation.item.create", item=HELLO)[0]["previous_item_id"] is None


def test_an_item_is_deleted_once() -> None:
    client = Client()
    first, second = create(client), create(client)
    [deleted] = client.send("conversation.item.delete", item_id=second)
    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", second)
    gone = client.send("conversation.item.delete", item_id=second, event_id="e1")
    assert error(gone) == ("item_delete_invalid_item_id", "item_id")
    assert gone[0]["error"]["event_id"] == "e1"
    assert error(client.send("conversation.item.retrieve", item_id=second)) == (
        "item_retrieve_invalid_item_id",
        "item_id",
    )
    assert client.send("conversation.item.create", item=HELLO)[0]["previous_item_id"] == first


def test_a_deleted_turn_is_still_written() -> None:
    client = Client(listening=LISTENING)
    item = client.hear(committed())[0]["item_id"]
    client.send("conversation.item.delete", item_id=item)
    assert types(client.hear(final("late"))) == ["delta", "completed"]


def test_only_spoken_replies_are_truncated() -> None:
    client = Client(listening=LISTENING)
    item = client.hear(committed())[0]["item_id"]
    where = {"content_index": 0, "audio_end_ms": 100}
    verb = "conversation.item.truncate"
    assert error(client.send(verb, item_id=item, **where)) == ("unsupported_content_type", "item_id")
    assert error(client.send(verb, item_id="nobody", **where)) == ("item_truncate_invalid_item_id", "item_id")
    assert error(client.send(verb, item_id=item, content_index=0)) == ("missing_required_parameter", "audio_end_ms")
    assert error(client.send(verb, item_id=item, content_index=0, audio_end_ms=-1)) == (
        "integer_below_min_value",
        "audio_end_ms",
    )


@pytest.mark.parametrize("verb", ["retrieve", "delete"])
def test_the_item_must_be_named(verb: str) -> None:
    client = Client()
    assert error(client.send(f"conversation.item.{verb}")) == ("missing_required_parameter", "item_id")
    assert error(client.send(f"conversation.item.{verb}", item_id=3)) == ("invalid_type", "item_id")


def test_the_oldest_items_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_ITEMS", 3)
    client = Client()
    items = [create(client) for _ in range(4)]
    assert error(client.send("conversation.item.retrieve", item_id=items[0]))[0] == "item_retrieve_invalid_item_id"
    assert types(client.send("conversation.item.retrieve", item_id=items[1])) == ["conversation.item.retrieved"]


def test_a_conversation_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_CONVERSATION_BYTES", 10_000)
    client = Client()
    long = {**HELLO, "content": [{"type": "input_text", "text": "x" * 4_000}]}
    items = [create(client, long) for _ in range(3)]
    assert error(client.send("conversation.item.retrieve", item_id=items[0]))[0] == "item_retrieve_invalid_item_id"
    assert types(client.send("conversation.item.retrieve", item_id=items[2])) == ["conversation.item.retrieved"]


# Replies -----------------------------------------------------------------------------------------------------------


def test_a_session_that_only_listens_says_so() -> None:
    refused = Client().send("response.create", event_id="e1")
    assert error(refused) == ("invalid_value", "type")
    assert refused[0]["error"]["type"] == "invalid_request_error"
    assert refused[0]["error"]["event_id"] == "e1"


def test_there_is_nothing_to_cancel() -> None:
    assert error(Client().send("response.cancel")) == ("response_cancel_not_active", None)


# Frames that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("not json", "invalid_json", None),
        ("", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ("[]", "invalid_event", None),
        ("7", "invalid_event", None),
        ("{}", "missing_required_parameter", "type"),
        ('{"type": 7}', "invalid_value", "type"),
        ('{"type": "nope"}', "invalid_value", "type"),
        ('{"type": "output_audio_buffer.clear"}', "invalid_value", "type"),
        ('{"type": "nope\\ud800"}', "invalid_value", "type"),
        ('{"type": "input_audio_buffer.commit", "event_id": 7}', "invalid_value", "event_id"),
        (json.dumps({"type": "input_audio_buffer.commit", "event_id": "x" * 513}), "invalid_value", "event_id"),
        ('{"type": "session.update"}', "missing_required_parameter", "session"),
        ('{"type": "session.update", "session": null}', "invalid_type", "session"),
    ],
)
def test_a_frame_without_sense_is_answered_and_the_socket_lives(frame: str, code: str, param: str | None) -> None:
    client = Client()
    assert error(client.frame(frame)) == (code, param)
    assert client.closed is None
    assert types(client.update({})) == ["session.updated"]


def test_the_id_of_an_unknown_event_is_echoed() -> None:
    [refused] = Client().send("nope", event_id="e" * 512)
    assert refused["error"]["event_id"] == "e" * 512


def test_a_binary_frame_is_answered() -> None:
    client = Client()
    assert error(client.take(client.codec.binary(b"\x00"))) == ("invalid_event", None)
    assert types(client.update({})) == ["session.updated"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    (
        *("type", "event_id", "session", "audio", "input", "output", "format", "transcription", "turn_detection"),
        *("item", "item_id", "content", "role", "model", "language", "include", "tools", "tracing", "previous_item_id"),
    )
)
WORDS = st.sampled_from(
    (
        *("session.update", "transcription_session.update", "input_audio_buffer.append", "input_audio_buffer.commit"),
        *("conversation.item.create", "conversation.item.retrieve", "conversation.item.truncate", "response.create"),
        *("transcription", "realtime", "message", "user", "server_vad", "semantic_vad", "audio/pcm", "function", "mcp"),
    )
)
NEARLY = st.recursive(
    WORDS | VALUES,
    lambda inner: st.dictionaries(NAMES, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(kind=WORDS, fields=st.dictionaries(NAMES, NEARLY, max_size=5), beta=st.booleans(), talks=st.booleans())
def test_whatever_comes_is_answered_and_the_session_goes_on(
    kind: str, fields: dict[str, Any], beta: bool, talks: bool
) -> None:
    client = Client(beta=beta, intent="", model="gpt-realtime") if talks else Client(beta=beta)
    client.frame(json.dumps({**fields, "type": kind}))
    assert client.closed is None
    assert types(client.hear(committed()))[0] == "input_audio_buffer.committed"
