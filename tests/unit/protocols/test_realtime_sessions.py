"""How Realtime sessions begin and change."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import (
    RealtimeSessionCreateRequest,
    RealtimeTranscriptionSessionCreateRequest,
    SessionCreatedEvent,
)
from tests.unit.protocols.realtime_client import LISTENING, NOW, Client, error, types

from kikitori.errors import Busy, KikitoriError, ModelNotFound, Unauthorized, Unavailable, Unsupported
from kikitori.live.options import Agreement, Eagerness, LiveOptions, TurnDetection
from kikitori.options import DecodeOptions
from kikitori.protocols.actions import Close, Configure, Encoding, InputFormat, Open
from kikitori.protocols.openai_realtime.starting import checked_config

FIRST_VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}


def test_a_transcription_session_begins_with_what_openai_shows() -> None:
    client = Client()
    [created] = client.opening
    assert created["type"] == "session.created"
    assert created["session"] == {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": "sess_1",
        "expires_at": int(NOW) + 3_600,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": FIRST_VAD,
            }
        },
    }
    event = SessionCreatedEvent.model_validate(created)
    assert isinstance(event.session, RealtimeTranscriptionSessionCreateRequest)


def test_it_is_opened_before_the_client_says_anything() -> None:
    [opened] = Client().wishes
    assert isinstance(opened, Open)
    assert opened.format == InputFormat(encoding=Encoding.S16LE, rate=24_000)
    assert (opened.options.turns, opened.options.prefix_ms, opened.options.endpoint_ms) == (TurnDetection.VAD, 300, 200)


def test_a_conversation_has_a_voice_and_replies() -> None:
    [created] = Client(intent="", model="gpt-realtime").opening
    event = SessionCreatedEvent.model_validate(created)
    assert isinstance(event.session, RealtimeSessionCreateRequest)
    assert event.session.model == "gpt-realtime"
    assert event.session.output_modalities == ["audio"]
    assert event.session.audio is not None
    assert event.session.audio.output is not None
    assert event.session.audio.output.voice == "alloy"
    assert created["session"]["audio"]["input"]["turn_detection"] == {
        **FIRST_VAD,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    assert created["session"]["audio"]["input"]["transcription"] is None


@pytest.mark.parametrize("intent", ["transcription", ""])
def test_a_model_that_transcribes_is_the_one_that_hears(intent: str) -> None:
    client = Client(intent=intent, model="small")
    heard = client.opening[0]["session"]["audio"]["input"]["transcription"]
    assert heard == {"model": "small", "language": None, "prompt": None}
    assert isinstance(client.wishes[0], Open)
    assert client.wishes[0].options.model == "small"
    updated = client.update({"audio": {"input": {"transcription": {"language": "en"}}}})
    assert updated[0]["session"]["audio"]["input"]["transcription"]["model"] == "small"


def test_a_conversation_may_turn_into_a_transcription_once() -> None:
    client = Client(intent="", model="small")
    [updated] = client.update({"audio": {"input": {"turn_detection": None}}})
    assert updated["session"]["type"] == "transcription"
    assert "output" not in updated["session"]["audio"]
    assert updated["session"]["audio"]["input"]["transcription"]["model"] == "small"
    assert error(client.send("session.update", session={"type": "realtime"})) == ("invalid_parameter", "session.type")


@pytest.mark.parametrize("first", ["update", "append"])
def test_later_it_stays_a_conversation(first: str) -> None:
    client = Client(intent="", model="small")
    if first == "update":
        client.send("session.update", session={"type": "realtime"})
    else:
        client.append(bytes(4_800))
    assert error(client.update({})) == ("invalid_parameter", "session.type")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"intent": ""}, "missing_model"),
        ({"intent": "", "model": "nobody"}, "invalid_model"),
        ({"intent": "transcription", "model": "nobody"}, "invalid_model"),
        ({"intent": "dancing"}, "invalid_value"),
    ],
)
def test_what_cannot_be_opened_is_said_and_closed(query: dict[str, Any], code: str) -> None:
    client = Client(**query)
    assert error(client.opening)[0] == code
    assert client.closed == Close(code=4_000, reason=f"invalid_request_error.{code}")
    assert client.send("input_audio_buffer.commit") == []


def test_a_client_secret_says_how_the_session_begins() -> None:
    config = checked_config(
        {"type": "transcription", "audio": {"input": {**LISTENING, "turn_detection": None}}},
        models=lambda name: name == "whisper-1",
    )
    client = Client(intent="", model="", session_config=config)
    listening = client.opening[0]["session"]["audio"]["input"]
    assert listening["turn_detection"] is None
    assert listening["transcription"]["model"] == "whisper-1"
    assert isinstance(client.wishes[0], Open)
    assert client.wishes[0].options.turns is TurnDetection.MANUAL
    [updated] = client.update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    assert updated["session"]["audio"]["input"]["turn_detection"] == FIRST_VAD


def test_a_client_secret_of_a_conversation_may_be_used_to_transcribe() -> None:
    asked = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}}
    client = Client(session_config=checked_config(asked, models=lambda name: False))
    assert client.opening[0]["session"]["type"] == "realtime"
    [updated] = client.update({})
    assert updated["session"]["type"] == "transcription"
    assert updated["session"]["audio"]["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "low"}


# Updates ----------------------------------------------------------------------------------------------------------


def test_an_update_shows_the_whole_session_with_all_defaults() -> None:
    client = Client()
    asked = {"audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}}}
    [updated] = client.update(asked, event_id="e1")
    assert updated["type"] == "session.updated"
    assert updated["event_id"] != "e1"
    before = client.opening[0]["session"]
    heard = {"model": "whisper-1", "language": "en", "prompt": None}
    assert updated["session"] == {**before, "audio": {"input": {**before["audio"]["input"], "transcription": heard}}}


def test_an_update_changes_only_what_it_names() -> None:
    client = Client(listening={"transcription": {"model": "small", "language": "ja"}, "turn_detection": None})
    [updated] = client.update({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}})
    assert updated["session"]["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 24_000},
        "transcription": {"model": "small", "language": "ja", "prompt": None},
        "noise_reduction": {"type": "near_field"},
        "turn_detection": None,
    }


def test_null_switches_off() -> None:
    client = Client(listening={**LISTENING, "noise_reduction": {"type": "far_field"}})
    nothing = {"transcription": None, "noise_reduction": None, "turn_detection": None}
    [updated] = client.update({"audio": {"input": nothing}})
    assert updated["session"]["audio"]["input"] == {"format": {"type": "audio/pcm", "rate": 24_000}, **nothing}


def test_an_update_without_a_type_names_it() -> None:
    client = Client()
    assert error(client.send("session.update", session={})) == ("missing_required_parameter", "session.type")
    assert types(client.update({})) == ["session.updated"]


def test_one_wrong_key_and_nothing_changes() -> None:
    client = Client(listening=LISTENING)
    wishes = list(client.wishes)
    wrong = {"audio": {"input": {"turn_detection": None, "volume": 11}}}
    [failed] = client.update(wrong, event_id="e1")
    assert error([failed]) == ("unknown_parameter", "session.audio.input.volume")
    assert failed["error"]["event_id"] == "e1"
    assert client.wishes == wishes
    assert client.update({})[0]["session"]["audio"]["input"]["turn_detection"] == FIRST_VAD


INPUT = "session.audio.input"


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"voice": "alloy"}, "unknown_parameter", "session.voice"),
        ({"audio": {"output": {}}}, "unknown_parameter", "session.audio.output"),
        ({"audio": []}, "invalid_type", "session.audio"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, "invalid_value", f"{INPUT}.format.type"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}},
            "integer_below_min_value",
            f"{INPUT}.format.rate",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 48_000}}}},
            "integer_above_max_value",
            f"{INPUT}.format.rate",
        ),
        ({"audio": {"input": {"turn_detection": {}}}}, "missing_required_parameter", f"{INPUT}.turn_detection.type"),
        ({"audio": {"input": {"turn_detection": {"type": "x"}}}}, "invalid_value", f"{INPUT}.turn_detection.type"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1.5}}}},
            "decimal_above_max_value",
            f"{INPUT}.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": "long"}}}},
            "invalid_type",
            f"{INPUT}.turn_detection.silence_duration_ms",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}},
            "unknown_parameter",
            f"{INPUT}.turn_detection.eagerness",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "huge"}}}},
            "invalid_value",
            f"{INPUT}.turn_detection.eagerness",
        ),
        ({"audio": {"input": {"transcription": {"model": "no"}}}}, "invalid_value", f"{INPUT}.transcription.model"),
        (
            {"audio": {"input": {"transcription": {"language": "klingon"}}}},
            "invalid_value",
            f"{INPUT}.transcription.language",
        ),
        (
            {"audio": {"input": {"transcription": {"language": "en", "languages": ["en"]}}}},
            "invalid_parameter",
            f"{INPUT}.transcription.languages",
        ),
        (
            {"audio": {"input": {"transcription": {"keywords": ["fine", "<no>"]}}}},
            "invalid_value",
            f"{INPUT}.transcription.keywords[1]",
        ),
        (
            {"audio": {"input": {"transcription": {"prompt": "x" * 4_001}}}},
            "string_above_max_length",
            f"{INPUT}.transcription.prompt",
        ),
        ({"audio": {"input": {"noise_reduction": {"type": "loud"}}}}, "invalid_value", f"{INPUT}.noise_reduction.type"),
        ({"include": ["everything"]}, "invalid_value", "session.include[0]"),
    ],
)
def test_what_is_wrong_is_named(session: dict[str, Any], code: str, param: str) -> None:
    client = Client()
    assert error(client.update(session)) == (code, param)
    assert types(client.update({})) == ["session.updated"]


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"max_output_tokens": 5_000}, "integer_above_max_value", "session.max_output_tokens"),
        ({"audio": {"output": {"speed": 2}}}, "decimal_above_max_value", "session.audio.output.speed"),
        ({"model": "gpt-realtime-2"}, "invalid_parameter", "session.model"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
        (
            {"truncation": {"type": "retention_ratio"}},
            "missing_required_parameter",
            "session.truncation.retention_ratio",
        ),
        ({"instructions": 7}, "invalid_type", "session.instructions"),
    ],
)
def test_a_conversation_is_checked_as_well(session: dict[str, Any], code: str, param: str) -> None:
    client = Client(intent="", model="gpt-realtime")
    assert error(client.send("session.update", session={"type": "realtime", **session})) == (code, param)


def test_everything_of_a_conversation_can_be_set() -> None:
    client = Client(intent="", model="gpt-realtime")
    wanted = {
        "output_modalities": ["text"],
        "instructions": "Be brief.",
        "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "mine"}, "speed": 1.25}},
        "tools": [{"type": "function", "name": "dance", "description": "", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "dance"},
        "max_output_tokens": 100,
        "tracing": "auto",
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
        "prompt": {"id": "pmpt_1"},
        "include": ["item.input_audio_transcription.logprobs"],
    }
    [updated] = client.send("session.update", session={"type": "realtime", "model": "gpt-realtime", **wanted})
    session = updated["session"]
    assert {name: session[name] for name in wanted if name != "audio"} == {
        name: value for name, value in wanted.items() if name != "audio"
    }
    assert session["audio"]["output"] == wanted["audio"]["output"]  # type: ignore[index]
    [cleared] = client.send("session.update", session={"type": "realtime", "instructions": "", "tools": []})
    assert (cleared["session"]["instructions"], cleared["session"]["tools"]) == ("", [])


def test_a_session_stays_small_enough_for_one_event() -> None:
    client = Client(intent="", model="gpt-realtime")
    tools = [{"type": "function", "name": f"f{n}", "parameters": {"x": "y" * 2_000}} for n in range(300)]
    assert error(client.send("session.update", session={"type": "realtime", "tools": tools})) == (
        "invalid_value",
        "session",
    )


# What updates mean ------------------------------------------------------------------------------------------------


def options_after(listening: dict[str, Any], **session: Any) -> LiveOptions:
    client = Client(defaults=LiveOptions(decode=DecodeOptions(beam_size=3)))
    client.update({"audio": {"input": listening}, **session})
    configured = client.wishes[-1]
    assert isinstance(configured, Configure)
    assert configured.options.decode.beam_size == 3
    return configured.options


def test_server_vad() -> None:
    options = options_after(
        {
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.7,
                "prefix_padding_ms": 100,
                "silence_duration_ms": 1_000,
            }
        }
    )
    assert options.turns is TurnDetection.VAD
    assert (options.threshold, options.prefix_ms, options.endpoint_ms) == (0.7, 100, 1_000)


@pytest.mark.parametrize(
    ("eagerness", "means"),
    [
        ("low", Eagerness.LOW),
        ("medium", Eagerness.MEDIUM),
        ("high", Eagerness.HIGH),
        ("auto", Eagerness.MEDIUM),
    ],
)
def test_semantic_vad(eagerness: str, means: Eagerness) -> None:
    options = options_after({"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}})
    assert (options.turns, options.eagerness) == (TurnDetection.SEMANTIC, means)


def test_no_turn_detection_is_manual() -> None:
    assert options_after({"turn_detection": None}).turns is TurnDetection.MANUAL


def test_without_transcription_turns_cost_no_decoding() -> None:
    unread = options_after({"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}})
    assert not unread.interim
    assert unread.min_speech_ms > LiveOptions().max_utterance_seconds * 1_000
    read = options_after(LISTENING)
    assert (read.interim, read.min_speech_ms) == (True, LiveOptions().min_speech_ms)


def test_language_prompt_and_keywords_reach_the_model() -> None:
    asked = {"model": "small", "language": "en-US", "prompt": "A talk.", "keywords": ["Kikitori", "聞き取り"]}
    options = options_after({"transcription": asked})
    assert options.model == "small"
    assert options.interim
    decode = options.decode
    assert (decode.language, decode.initial_prompt, decode.hotwords) == ("en", "A talk.", "Kikitori, 聞き取り")
    assert not decode.word_timestamps


@pytest.mark.parametrize(("languages", "means"), [(["ja"], "ja"), (["ja", "ko"], None), ([], None)])
def test_one_candidate_is_the_language(languages: list[str], means: str | None) -> None:
    assert options_after({"transcription": {"model": "small", "languages": languages}}).decode.language == means


def test_logprobs_need_words() -> None:
    options = options_after(LISTENING, include=["item.input_audio_transcription.logprobs"])
    assert options.decode.word_timestamps


def test_a_short_delay_shows_words_sooner() -> None:
    asked = {"model": "small", "delay": "minimal"}
    options = options_after({"transcription": asked})
    assert options.agreement is Agreement.FAST
    assert options.interim_seconds < LiveOptions().interim_seconds
    assert options_after({"transcription": {**asked, "delay": "xhigh"}}).agreement is Agreement.STEADY


@pytest.mark.parametrize(("name", "encoding"), [("audio/pcmu", Encoding.MULAW), ("audio/pcma", Encoding.ALAW)])
def test_telephone_formats(name: str, encoding: Encoding) -> None:
    client = Client()
    [updated] = client.update({"audio": {"input": {"format": {"type": name}}}})
    assert updated["session"]["audio"]["input"]["format"] == {"type": name}
    configured = client.wishes[-1]
    assert isinstance(configured, Configure)
    assert configured.format == InputFormat(encoding=encoding, rate=8_000)


def test_an_update_that_changes_nothing_for_the_listener_leaves_it_alone() -> None:
    client = Client(listening=LISTENING)
    before = len(client.wishes)
    client.update({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}})
    assert len(client.wishes) == before


# Failures --------------------------------------------------------------------------------------------------------


def test_an_update_that_the_model_cannot_do_is_taken_back() -> None:
    client = Client(listening=LISTENING)
    client.codec.text(
        '{"type": "session.update", "event_id": "e2", "session": {"type": "transcription", "audio": '
        '{"input": {"transcription": {"model": "whisper-1", "language": "ja"}}}}}'
    )
    [failed] = client.take(client.codec.failed(Unsupported("English only.", param="language")))
    assert error([failed]) == ("unsupported_value", "session.audio.input.transcription.language")
    assert failed["error"]["event_id"] == "e2"
    assert client.closed is None
    assert client.update({})[0]["session"]["audio"]["input"]["transcription"]["language"] is None


@pytest.mark.parametrize(
    ("problem", "kind", "code", "close"),
    [
        (Busy("Full.", retry_after=5), "rate_limit_error", "rate_limit_exceeded", 1_013),
        (Unavailable("No model."), "server_error", "unavailable", 1_013),
        (ModelNotFound("small"), "invalid_request_error", "invalid_model", 4_000),
        (Unauthorized("Wrong key."), "invalid_request_error", "invalid_api_key", 3_000),
        (KikitoriError("secret internals"), "server_error", "internal_error", 1_011),
    ],
)
def test_a_session_that_cannot_be_opened_is_the_end(problem: KikitoriError, kind: str, code: str, close: int) -> None:
    said = Client(ready=False)
    [event] = said.take(said.codec.failed(problem))
    assert (event["error"]["type"], event["error"]["code"]) == (kind, code)
    assert "internals" not in event["error"]["message"]
    assert said.closed == Close(code=close, reason=f"{kind}.{code}")


def test_what_fails_later_ends_the_socket_only_with_the_session() -> None:
    client = Client()
    assert types(client.take(client.codec.failed(Unavailable("No memory.")))) == ["error"]
    assert client.closed is None
    client.take(client.codec.ended())
    assert client.closed == Close(code=1_013, reason="server_error.unavailable")


def test_after_its_time_a_session_says_its_last_words_and_ends() -> None:
    client = Client()
    assert error(client.take(client.codec.expired())) == ("session_expired", None)
    assert client.closed is None
    assert client.send("input_audio_buffer.commit") == []
    client.take(client.codec.ended())
    assert client.closed == Close(code=1_001, reason="invalid_request_error.session_expired")


def test_a_session_that_ends_with_the_server_is_closed_by_the_server() -> None:
    client = Client()
    assert client.codec.ended() == []
    assert client.codec.closing(1_012, "restart") == []
    assert client.codec.received("", 1) == []
