"""The shape of the beta: flat sessions, other names of some events and of an item's parts."""

from __future__ import annotations

from typing import Any

from kikitori.protocols.openai_realtime import fields
from kikitori.protocols.openai_realtime.checks import (
    MAX_NAME,
    Fields,
    choice,
    either,
    integer,
    listed,
    nullable,
    number,
    obj,
    text,
)
from kikitori.protocols.openai_realtime.fields import REALTIME, TRANSCRIPTION
from kikitori.protocols.openai_realtime.sessions import Session

FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm"},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_NAMES = {value["type"]: name for name, value in FORMATS.items()}
MAX_SECRET_SECONDS = 7_200
DEFAULT_TEMPERATURE = 0.8

_format = choice(*FORMATS)
_LISTENING: Fields = {
    "input_audio_format": _format,
    "input_audio_transcription": nullable(fields.transcription),
    "input_audio_noise_reduction": nullable(fields.noise_reduction),
    "turn_detection": nullable(fields.turn_detection),
    "include": fields.include,
    "modalities": listed(choice("text", "audio"), most=2),
    # For the routes that make secrets; a socket has no use for it.
    "client_secret": nullable(
        obj(
            {
                "expires_at": obj({"anchor": choice("created_at"), "seconds": integer(10, MAX_SECRET_SECONDS)}),
                "expires_after": obj({"anchor": choice("created_at"), "seconds": integer(10, MAX_SECRET_SECONDS)}),
            }
        )
    ),
}
_FIELDS: dict[str, Fields] = {
    TRANSCRIPTION: _LISTENING,
    REALTIME: {
        **_LISTENING,
        "model": text(MAX_NAME),
        "instructions": text(),
        "voice": fields.voice,
        "output_audio_format": _format,
        "speed": fields.speed,
        "tools": fields.tools,
        "tool_choice": fields.tool_choice,
        "temperature": number(0.6, 1.2),
        "max_response_output_tokens": either(integer(1, 4_096), choice("inf")),
        "tracing": fields.tracing,
    },
}
_SAME = ("model", "instructions", "include", "tools", "tool_choice", "tracing", "temperature")


def is_flat(change: Any) -> bool:
    """A session object in the beta's shape; ``type`` and ``audio`` belong to today's."""
    return isinstance(change, dict) and not {"audio", "type"} & change.keys()


def checked_change(change: Any, kind: str) -> dict[str, Any]:
    """A flat session object, checked and in today's shape. Raises Problem with the path in the flat object."""
    nested = _nested(obj(_FIELDS[kind])(change, "session"))
    if kind == TRANSCRIPTION:
        nested.pop("output_modalities", None)
    return nested


def secret_seconds(change: dict[str, Any], default: int) -> int:
    """How long a secret that was asked for with this checked body shall live."""
    asked = change.get("client_secret") or {}
    for name in ("expires_after", "expires_at"):
        if seconds := asked.get(name, {}).get("seconds"):
            return int(seconds)
    return default


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    change = {name: flat[name] for name in _SAME if name in flat}
    listening = {
        name: flat[long]
        for long, name in (
            ("input_audio_transcription", "transcription"),
            ("input_audio_noise_reduction", "noise_reduction"),
            ("turn_detection", "turn_detection"),
        )
        if long in flat
    }
    if "input_audio_format" in flat:
        listening["format"] = FORMATS[flat["input_audio_format"]]
    speaking: dict[str, Any] = {name: flat[name] for name in ("voice", "speed") if name in flat}
    if "output_audio_format" in flat:
        speaking["format"] = FORMATS[flat["output_audio_format"]]
    audio = {part: given for part, given in (("input", listening), ("output", speaking)) if given}
    if audio:
        change["audio"] = audio
    if "max_response_output_tokens" in flat:
        change["max_output_tokens"] = flat["max_response_output_tokens"]
    if "modalities" in flat:
        change["output_modalities"] = ["audio"] if "audio" in flat["modalities"] else ["text"]
    return change


def flat_session(session: Session) -> dict[str, Any]:
    """A session as the beta shows it."""
    listening = session["audio"]["input"]
    flat = {
        "id": session["id"],
        "object": session["object"],
        "expires_at": session["expires_at"],
        "input_audio_format": _NAMES[listening["format"]["type"]],
        "input_audio_transcription": listening["transcription"],
        "input_audio_noise_reduction": listening["noise_reduction"],
        "turn_detection": listening["turn_detection"],
        "include": session["include"],
        "client_secret": None,
    }
    if session["type"] == TRANSCRIPTION:
        return {**flat, "modalities": ["audio", "text"]}
    speaking = session["audio"]["output"]
    return {
        **flat,
        "model": session["model"],
        "modalities": ["audio", "text"] if session["output_modalities"] == ["audio"] else ["text"],
        "instructions": session["instructions"],
        "voice": speaking["voice"],
        "output_audio_format": _NAMES[speaking["format"]["type"]],
        "speed": speaking["speed"],
        "tools": session["tools"],
        "tool_choice": session["tool_choice"],
        "temperature": session.get("temperature", DEFAULT_TEMPERATURE),
        "max_response_output_tokens": session["max_output_tokens"],
        "tracing": session["tracing"],
    }


def flat_event(event: dict[str, Any]) -> dict[str, Any] | None:
    """A server event as the beta shows it; None: the beta does not have it."""
    kind = event["type"]
    if kind in ("session.created", "session.updated"):
        session = event["session"]
        prefix = "transcription_" if session["type"] == TRANSCRIPTION else ""
        return {**event, "type": prefix + kind, "session": flat_session(session)}
    if kind in ("conversation.item.done", "input_audio_buffer.timeout_triggered"):
        return None
    if kind == "conversation.item.added":
        event = {**event, "type": "conversation.item.created"}
    if kind.startswith("response.output_") and not kind.startswith("response.output_item."):
        event = {**event, "type": kind.replace("output_", "", 1)}
    if "item" in event:
        return {**event, "item": _flat_item(event["item"])}
    if "response" in event:
        return {**event, "response": _flat_response(event["response"])}
    return event


def _flat_response(response: dict[str, Any]) -> dict[str, Any]:
    same = ("object", "id", "status", "status_details", "conversation_id", "max_output_tokens", "usage", "metadata")
    speaking = response["audio"]["output"]
    return {
        **{name: response[name] for name in same},
        "output": [_flat_item(item) for item in response["output"]],
        "modalities": ["audio", "text"] if response["output_modalities"] == ["audio"] else ["text"],
        "voice": speaking["voice"],
        "output_audio_format": _NAMES[speaking["format"]["type"]],
        "temperature": DEFAULT_TEMPERATURE,
    }


def _flat_item(item: dict[str, Any]) -> dict[str, Any]:
    flat = {**item, "object": "realtime.item"}
    if item.get("role") == "assistant":
        flat["content"] = [{**part, "type": part["type"].removeprefix("output_")} for part in item["content"]]
    return flat
