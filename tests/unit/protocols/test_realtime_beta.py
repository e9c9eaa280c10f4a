"""Clients of the beta: flat sessions, other names of some events."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.protocols.realtime_client import Client, committed, error, final, started, types

from kikitori.live.options import TurnDetection
from kikitori.protocols.actions import Configure, Encoding, InputFormat
from kikitori.protocols.openai_realtime.beta import flat_event

HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}


def update(client: Client, **session: Any) -> list[dict[str, Any]]:
    return client.send("transcription_session.update", session=session)


def test_a_transcription_session() -> None:
    [created] = Client(beta=True).opening
    assert created["type"] == "transcription_session.created"
    session = created["session"]
    assert "type" not in session
    assert "audio" not in session
    assert session["object"] == "realtime.transcription_session"
    assert session["input_audio_format"] == "pcm16"
    assert session["input_audio_transcription"] is None
    assert session["turn_detection"]["type"] == "server_vad"
    assert session["client_secret"] is None


def test_a_conversation() -> None:
    [created] = Client(beta=True, intent="", model="gpt-4o-realtime-preview").opening
    session = created["session"]
    assert created["type"] == "session.created"
    assert session["modalities"] == ["audio", "text"]
    assert (session["voice"], session["temperature"], session["output_audio_format"]) == ("alloy", 0.8, "pcm16")
    assert session["max_response_output_tokens"] == "inf"


def test_an_update_of_a_transcription_session() -> None:
    client = Client(beta=True)
    [updated] = update(
        client,
        input_audio_format="g711_ulaw",
        input_audio_transcription={"model": "whisper-1", "language": "en"},
        input_audio_noise_reduction={"type": "near_field"},
        turn_detection=None,
        include=["item.input_audio_transcription.logprobs"],
    )
    assert updated["type"] == "transcription_session.updated"
    session = updated["session"]
    assert session["input_audio_format"] == "g711_ulaw"
    assert session["input_audio_transcription"] == {"model": "whisper-1", "language": "en", "prompt": None}
    assert session["input_audio_noise_reduction"] == {"type": "near_field"}
    assert session["turn_detection"] is None
    configured = client.wishes[-1]
    assert isinstance(configured, Configure)
    assert configured.format == InputFormat(encoding=Encoding.MULAW, rate=8_000)
    assert configured.options.turns is TurnDetection.MANUAL
    assert configured.options.decode.language == "en"


def test_an_update_of_a_conversation() -> None:
    client = Client(beta=True, intent="", model="gpt-4o-realtime-preview")
    wanted = {
        "modalities": ["text"],
        "instructions": "Be brief.",
        "voice": "sage",
        "output_audio_format": "g711_alaw",
        "temperature": 1.1,
        "max_response_output_tokens": 7,
        "speed": 1.5,
        "tools": [{"type": "function", "name": "dance"}],
        "tool_choice": "none",
    }
    [updated] = client.send("session.update", session=wanted)
    assert updated["type"] == "session.updated"
    assert {name: updated["session"][name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"audio_format": "pcm16"}, "unknown_parameter", "session.audio_format"),
        ({"input_audio_format": "mp3"}, "invalid_value", "session.input_audio_format"),
        (
            {"input_audio_transcription": {"model": "nobody"}},
            "invalid_value",
            "session.input_audio_transcription.model",
        ),
        ({"turn_detection": {"type": "x"}}, "invalid_value", "session.turn_detection.type"),
        ({"voice": "alloy"}, "unknown_parameter", "session.voice"),
    ],
)
def test_what_is_wrong_is_named_as_the_client_named_it(session: dict[str, Any], code: str, param: str) -> None:
    client = Client(beta=True)
    assert error(update(client, **session)) == (code, param)
    assert types(update(client)) == ["transcription_session.updated"]


def test_items_are_created_in_one_step() -> None:
    client = Client(beta=True)
    update(client, input_audio_transcription={"model": "whisper-1"})
    said = client.hear(started(), committed(), final("hello"))
    assert types(said) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "delta",
        "completed",
    ]
    assert said[2]["item"]["object"] == "realtime.item"
    [created] = client.send("conversation.item.create", item=HELLO)
    assert created["type"] == "conversation.item.created"
    assert created["previous_item_id"] == said[2]["item"]["id"]


def test_written_replies_have_the_betas_type() -> None:
    client = Client(beta=True)
    item = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi."}]}
    [created] = client.send("conversation.item.create", item=item)
    assert created["item"]["content"] == [{"type": "text", "text": "Hi."}]


def test_a_conversation_of_the_beta_may_turn_into_a_transcription() -> None:
    client = Client(beta=True, intent="", model="gpt-4o-realtime-preview")
    [updated] = update(client, input_audio_transcription={})
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["input_audio_transcription"]["model"] == "whisper-1"


def test_the_update_of_the_beta_works_on_any_socket_and_is_answered_in_its_own_shape() -> None:
    client = Client()
    [updated] = update(client, input_audio_transcription={"model": "small"})
    assert updated["type"] == "session.updated"
    assert updated["session"]["audio"]["input"]["transcription"]["model"] == "small"
    [nested] = update(client, audio={"input": {"turn_detection": None}})
    assert nested["session"]["audio"]["input"]["turn_detection"] is None


def test_a_session_of_today_is_taken_from_clients_of_the_beta() -> None:
    client = Client(beta=True)
    [updated] = client.update({"audio": {"input": {"turn_detection": None}}})
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["turn_detection"] is None


def test_what_did_not_change_stays_as_it_is() -> None:
    event = {"type": "error", "error": {}}
    assert flat_event(event) is event
