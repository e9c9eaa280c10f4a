"""What a session may be asked for: the fields of its object, and what each allows."""

from __future__ import annotations

from typing import Any

from kikitori.protocols.openai_realtime.checks import (
    MAX_NAME,
    Fields,
    anything,
    choice,
    either,
    flag,
    integer,
    listed,
    mapping,
    nullable,
    number,
    obj,
    tagged,
    text,
)
from kikitori.protocols.openai_realtime.problems import Problem, invalid, missing, too_long
from kikitori.text.languages import LANGUAGE_NAMES

TRANSCRIPTION = "transcription"
REALTIME = "realtime"
KINDS = (REALTIME, TRANSCRIPTION)

LOGPROBS = "item.input_audio_transcription.logprobs"
PCM_RATE = 24_000
MAX_PROMPT = 4_000
MAX_KEYWORDS = 100
MAX_KEYWORD = 100
MAX_ALL_KEYWORDS = 3_500
"""Characters of all of them."""
MIN_SILENCE_MS, MAX_SILENCE_MS = 100, 10_000
MAX_PREFIX_MS = 5_000
DELAYS = ("minimal", "low", "medium", "high", "xhigh")
EAGERNESS = ("low", "medium", "high", "auto")

SERVER_VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "medium"}
REPLIES = {"create_response": True, "interrupt_response": True}
"""What turn detection does in a conversation, besides ending turns."""


def language_code(language: str) -> str:
    """``en-US`` and ``EN`` are ``en``."""
    return language.strip().lower().replace("_", "-").partition("-")[0]


def _language(value: Any, path: str) -> str | None:
    given: str = text(MAX_NAME)(value, path)
    if not given.strip():
        return None
    if language_code(given) not in LANGUAGE_NAMES:
        raise invalid(path, given, "an ISO 639-1 code such as en, ja, ko")
    return given


def _keyword(value: Any, path: str) -> str:
    word: str = text(MAX_KEYWORD)(value, path)
    if not word.strip() or set(word) & set("<>\r\n"):
        raise invalid(path, value, "words on one line, without < and >")
    return word


_TRANSCRIPTION: Fields = {
    "model": text(MAX_NAME),
    "language": nullable(_language),
    "languages": nullable(listed(_language, most=20)),
    "prompt": nullable(text(MAX_PROMPT)),
    "keywords": nullable(listed(_keyword, most=MAX_KEYWORDS)),
    "delay": nullable(choice(*DELAYS)),
}


def transcription(value: Any, path: str) -> dict[str, Any]:
    """How audio becomes text; ``model`` may be missing."""
    checked: dict[str, Any] = obj(_TRANSCRIPTION)(value, path)
    if checked.get("language") and checked.get("languages"):
        raise Problem("invalid_parameter", f"{path} has both language and languages. Send one.", f"{path}.languages")
    if sum(map(len, checked.get("keywords") or ())) > MAX_ALL_KEYWORDS:
        raise too_long(f"{path}.keywords", f"{MAX_ALL_KEYWORDS:,} characters together")
    return checked


_ANSWERING: Fields = {"create_response": flag, "interrupt_response": flag}
turn_detection = tagged(
    {
        "server_vad": obj(
            {
                "type": anything,
                "threshold": number(0, 1),
                "prefix_padding_ms": integer(0, MAX_PREFIX_MS),
                "silence_duration_ms": integer(MIN_SILENCE_MS, MAX_SILENCE_MS),
                "idle_timeout_ms": nullable(integer(5_000, 30_000)),
                **_ANSWERING,
            }
        ),
        "semantic_vad": obj({"type": anything, "eagerness": choice(*EAGERNESS), **_ANSWERING}),
    }
)
audio_format = tagged(
    {
        "audio/pcm": obj({"type": anything, "rate": integer(PCM_RATE, PCM_RATE)}),
        "audio/pcmu": obj({"type": anything}),
        "audio/pcma": obj({"type": anything}),
    }
)
noise_reduction = obj({"type": choice("near_field", "far_field"), "strength": number(0, 1)}, required=("type",))
include = nullable(listed(choice(LOGPROBS), most=1))

_INPUT: Fields = {
    "format": audio_format,
    "transcription": nullable(transcription),
    "noise_reduction": nullable(noise_reduction),
    "turn_detection": nullable(turn_detection),
}
voice = either(text(MAX_NAME), obj({"id": text(MAX_NAME)}, required=("id",)))
speed = number(0.25, 1.5)
_OUTPUT: Fields = {"format": audio_format, "voice": voice, "speed": speed}

tools = nullable(
    listed(
        tagged(
            {
                "function": obj(
                    {
                        "type": anything,
                        "name": text(MAX_NAME),
                        "description": nullable(text()),
                        "parameters": anything,
                        "strict": nullable(flag),
                    },
                    required=("name",),
                ),
                "mcp": lambda value, path: anything(mapping(value, path), path),
            },
            implied="function",
        )
    )
)
tool_choice = either(
    choice("none", "auto", "required"),
    tagged(
        {
            "function": obj({"type": anything, "name": text(MAX_NAME)}, required=("name",)),
            "mcp": obj(
                {"type": anything, "server_label": text(MAX_NAME), "name": nullable(text(MAX_NAME))},
                required=("server_label",),
            ),
        }
    ),
)
max_tokens = either(integer(1, 4_096), choice("inf"))


def _modalities(value: Any, path: str) -> list[str]:
    asked: list[str] = listed(choice("text", "audio"), most=2)(value, path)
    if len(asked) != 1:
        raise invalid(path, value, '["audio"] or ["text"]')
    return asked


def _object(value: Any, path: str) -> dict[str, Any]:
    return mapping(anything(value, path), path)


tracing = nullable(
    either(
        obj({"workflow_name": text(MAX_NAME), "group_id": text(MAX_NAME), "metadata": _object}),
        choice("auto"),
    )
)

reasoning = nullable(obj({"effort": choice("minimal", "low", "medium", "high", "xhigh")}))

TRANSCRIPTION_FIELDS: Fields = {"type": choice(*KINDS), "audio": obj({"input": obj(_INPUT)}), "include": include}
REALTIME_FIELDS: Fields = {
    "type": choice(*KINDS),
    "model": text(MAX_NAME),
    "output_modalities": _modalities,
    "instructions": text(),
    "audio": obj({"input": obj(_INPUT), "output": obj(_OUTPUT)}),
    "include": include,
    "tools": tools,
    "tool_choice": tool_choice,
    "max_output_tokens": max_tokens,
    "tracing": tracing,
    "truncation": either(
        obj(
            {"type": choice("retention_ratio"), "retention_ratio": number(0, 1), "token_limits": _object},
            required=("type", "retention_ratio"),
        ),
        choice("auto", "disabled"),
    ),
    "prompt": nullable(
        obj(
            {"id": text(MAX_NAME), "version": nullable(text(MAX_NAME)), "variables": nullable(_object)},
            required=("id",),
        )
    ),
    "parallel_tool_calls": flag,
    "reasoning": reasoning,
}
FIELDS = {TRANSCRIPTION: TRANSCRIPTION_FIELDS, REALTIME: REALTIME_FIELDS}


def kind_of(change: dict[str, Any]) -> str:
    """The ``type`` that a session object names. Raises Problem."""
    if "type" not in change:
        raise missing("session.type")
    checked: str = choice(*KINDS)(change["type"], "session.type")
    return checked


def checked_change(change: Any, kind: str) -> dict[str, Any]:
    """What a session of this kind is asked to change to. Raises Problem with the path of the wrong field."""
    checked: dict[str, Any] = obj(FIELDS[kind])(change, "session")
    return checked
