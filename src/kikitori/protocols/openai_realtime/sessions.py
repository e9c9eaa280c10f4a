"""The session object: how it begins, and what an update makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kikitori.protocols.openai_realtime.fields import (
    PCM_RATE,
    REALTIME,
    REPLIES,
    SEMANTIC_VAD,
    SERVER_VAD,
    TRANSCRIPTION,
)
from kikitori.protocols.openai_realtime.problems import Problem

Session = dict[str, Any]
"""The object in today's shape, all of its fields filled in. Never changed: an update makes a new one."""

DEFAULT_ASR_MODEL = "whisper-1"
"""Stands for the server's default model."""
DEFAULT_VOICE = "alloy"
DEFAULT_INSTRUCTIONS = (
    "You are talking with somebody, and your answer is read aloud. Be helpful and friendly, and answer in the language "
    "that the other one speaks. Be brief: one to three short sentences, as people talk, without lists and markup."
)
"""Until a client says otherwise; an empty text says nothing."""
CONVERSATION_MODELS = re.compile(r"(gpt-realtime|gpt-4o(-mini)?-realtime|gpt-audio)(?!-whisper|-transcribe)[\w.-]*")
"""Names of OpenAI's models that listen and answer; here they all mean the server."""
MAX_SESSION_BYTES = 500_000
"""A session is sent in one event, and none is larger than 1 MiB."""

PCM = {"type": "audio/pcm", "rate": PCM_RATE}
_CONVERSING = (*REPLIES, "idle_timeout_ms")
"""Of turn detection: what only conversations show unasked."""


def is_conversation_model(name: str) -> bool:
    return CONVERSATION_MODELS.fullmatch(name) is not None


def new_session(kind: str, *, id: str, expires_at: int, model: str = "", asr_model: str = "") -> Session:
    """The defaults. ``model`` is what a conversation was opened with; without ``asr_model`` nothing is transcribed."""
    heard = _transcription({"model": asr_model}, "") if asr_model else None
    listening: Session = {"format": PCM, "transcription": heard, "noise_reduction": None}
    if kind == TRANSCRIPTION:
        return {
            "type": TRANSCRIPTION,
            "object": "realtime.transcription_session",
            "id": id,
            "expires_at": expires_at,
            "include": None,
            "audio": {"input": {**listening, "turn_detection": SERVER_VAD}},
        }
    return {
        "type": REALTIME,
        "object": "realtime.session",
        "id": id,
        "expires_at": expires_at,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "audio": {
            "input": {**listening, "turn_detection": _turn_detection(SERVER_VAD, REALTIME)},
            "output": {"format": PCM, "voice": DEFAULT_VOICE, "speed": 1.0},
        },
        "include": None,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
    }


def merged(session: Session, change: Mapping[str, Any], *, asr_model: str = "") -> Session:
    """``session`` with the fields of a checked ``change``; ``asr_model`` is taken where none is named.

    Raises Problem for what may not change.
    """
    result = deepcopy(session)
    for name, value in change.items():
        if name == "audio":
            for part, fields in value.items():
                result["audio"][part].update(fields)
        elif name == "tools":
            result["tools"] = value or []
        elif name == "model" and value != session["model"]:
            raise Problem("invalid_parameter", "The model of a session cannot be changed.", "session.model")
        else:
            result[name] = value
    listening = result["audio"]["input"]
    if listening["transcription"] is not None:
        listening["transcription"] = _transcription(listening["transcription"], asr_model)
    if listening["turn_detection"] is not None:
        listening["turn_detection"] = _turn_detection(listening["turn_detection"], result["type"])
    for part in result["audio"].values():
        if part["format"]["type"] == "audio/pcm":
            part["format"] = PCM
    if len(json.dumps(result)) > MAX_SESSION_BYTES:
        raise Problem("invalid_value", f"The session is over {MAX_SESSION_BYTES:,} bytes.", "session")
    return result


def as_transcription(session: Session) -> Session:
    """A conversation that turns out to be a transcription session, before anything was said."""
    listening = session["audio"]["input"]
    if detection := listening["turn_detection"]:
        detection = {name: value for name, value in detection.items() if name not in _CONVERSING}
    begun = new_session(TRANSCRIPTION, id=session["id"], expires_at=session["expires_at"])
    heard = {**listening, "turn_detection": detection}
    return {**begun, "include": session["include"], "audio": {"input": heard}}


def _transcription(given: Mapping[str, Any], asr_model: str) -> dict[str, Any]:
    """With everything that has a default; language and prompt are shown also when they are not set."""
    model = given.get("model") or asr_model or DEFAULT_ASR_MODEL
    return {"language": None, "prompt": None, **given, "model": model}


def _turn_detection(given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    defaults: dict[str, Any] = dict(SERVER_VAD if given["type"] == "server_vad" else SEMANTIC_VAD)
    if kind == REALTIME:
        defaults |= REPLIES | ({"idle_timeout_ms": None} if given["type"] == "server_vad" else {})
    return {**defaults, **given}
