"""The API described: forms from the tables of options, answers with examples."""

from __future__ import annotations

import math
from typing import Any

from kikitori.options import OptionRow, option_table
from kikitori.text.formats import MEDIA_TYPES, OutputFormat
from kikitori.text.subtitle_options import layout_table
from kikitori.web.asked import AnswerFormat, Granularity

DESCRIPTION = """
Kikitori turns speech into text, on your own machine.

* The routes under `/v1` are those of OpenAI: point its SDKs here with `base_url`.
* Every decode option of Kikitori is one more form field.
* Errors are always `{"error": {"message", "type", "param", "code"}}`; each answer has an `x-request-id`.
* Keys: none are needed on loopback until the first is made; then send `Authorization: Bearer KEY`.
  Scopes: `transcribe` (recordings), `models` (load, unload and download), `admin` (everything).
"""

TAGS = [
    {"name": "audio", "description": "Recordings in, text out; text in, speech out."},
    {"name": "media", "description": "Recordings themselves: what is in them, and their sound as a file."},
    {
        "name": "tasks",
        "description": "Durable requests: stored at once, done in turn, and not lost when a server stops.",
    },
    {"name": "language models", "description": "What a language model makes of a task's text."},
    {"name": "callbacks", "description": "What is sent when a task has ended."},
    {"name": "live", "description": "Live speech: short-lived keys for `/v1/realtime`, a WebSocket."},
    {"name": "models", "description": "Which models there are, and which are in memory."},
    {"name": "keys", "description": "API keys, for administrators."},
    {"name": "operations", "description": "Health and metrics."},
]

FILE: dict[str, Any] = {
    "type": "string",
    "format": "binary",
    "description": "The recording: any audio or video file (wav, mp3, m4a, flac, ogg, opus, webm, mp4, mkv, mov, …).",
}

_FORM_FIELDS: dict[str, dict[str, Any]] = {
    "model": {
        "type": "string",
        "description": "A model's id or alias; `whisper-1` and `gpt-4o-transcribe` are the default model.",
        "examples": ["whisper-1"],
    },
    "response_format": {
        "type": "string",
        "enum": [answer.value for answer in AnswerFormat],
        "default": "json",
        "description": "`full_json`, `txt` (a line a segment), `tsv`, `lrc`, `ass` and `docx` are ours; "
        "`diarized_json` needs `channels=split`.",
    },
    "stream": {
        "type": "boolean",
        "default": False,
        "description": "Send the text while it is heard, as server-sent events `transcript.text.delta` and "
        "`transcript.text.done`.",
    },
    "timestamp_granularities[]": {
        "type": "array",
        "items": {"type": "string", "enum": [granularity.value for granularity in Granularity]},
        "default": ["segment"],
        "description": "What `verbose_json` shows; `word` makes word times.",
    },
    "prompt": {"type": "string", "description": "OpenAI's name of `initial_prompt`."},
    "keywords[]": {
        "type": "array",
        "items": {"type": "string"},
        "description": "OpenAI's form of `hotwords`.",
    },
    "languages[]": {
        "type": "array",
        "items": {"type": "string"},
        "description": "One is the `language`; of several the model finds out.",
    },
    "chunking_strategy": {
        "type": "string",
        "description": "`auto` (recordings are always cut at silences), or `server_vad`, also as JSON or as "
        "`chunking_strategy[threshold]` …: leaves out what is not speech.",
        "examples": ["auto"],
    },
    "known_speaker_names[]": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Names for the channels in `diarized_json`: the first is the left one's.",
    },
}

_TRANSLATION_FIELDS = ("model", "response_format", "stream", "timestamp_granularities[]", "prompt")
_TYPES = {"true/false": "boolean", "whole number": "integer", "number": "number", "text": "string"}


def transcription_form(*, translation: bool = False) -> dict[str, Any]:
    """The request body of the transcription routes."""
    named = {name: _FORM_FIELDS[name] for name in (_TRANSLATION_FIELDS if translation else _FORM_FIELDS)}
    rows = [row for row in (*option_table(), *layout_table()) if not (translation and row.name == "task")]
    properties = {"file": FILE, **named, **{row.name: option_schema(row) for row in rows}}
    return form_body(properties, required=["file"])


def form_body(properties: dict[str, Any], *, required: list[str]) -> dict[str, Any]:
    shown = {name: schema if name in required else _filled_in(schema) for name, schema in properties.items()}
    schema = {"type": "object", "required": required, "properties": shown}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _filled_in(schema: dict[str, Any]) -> dict[str, Any]:
    """Fields without a default are empty on the page; Swagger UI would fill in, and send, `string` and 0."""
    if "default" in schema or "examples" in schema:
        return schema
    return {**schema, "examples": [[] if schema["type"] == "array" else ""]}


def option_schema(row: OptionRow) -> dict[str, Any]:
    """One option as a form field."""
    base = row.type.removeprefix("list of ").partition(" or ")[0]
    schema: dict[str, Any] = {"type": _TYPES.get(base, "string")}
    if row.many:
        schema = {"type": "array", "items": schema}
    if ", " in row.allowed and row.type == "text":
        schema["enum"] = row.allowed.split(", ")
    schema["description"] = f"{row.description} Allowed: {row.allowed}." if row.allowed else row.description
    default = _plain(row.default)
    return schema if default is None else {**schema, "default": default}


def _plain(value: Any) -> Any:
    """A default as JSON can show it; None when it cannot, or when there is none."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value] or None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return getattr(value, "value", value)


_TEXT = " The birch canoe slid on the smooth planks."
_SEGMENT = {"id": 0, "start": 0.0, "end": 2.6, "text": _TEXT}
_USAGE = {"type": "duration", "seconds": 3}

_JSON_EXAMPLES: dict[str, Any] = {
    "json": {"text": _TEXT.strip(), "usage": _USAGE},
    "verbose_json": {
        "task": "transcribe",
        "language": "english",
        "duration": 2.6,
        "text": _TEXT.strip(),
        "segments": [
            {
                **_SEGMENT,
                "seek": 0,
                "tokens": [440, 1904, 339],
                "temperature": 0.0,
                "avg_logprob": -0.21,
                "compression_ratio": 0.91,
                "no_speech_prob": 0.01,
            }
        ],
        "usage": _USAGE,
    },
    "diarized_json": {
        "task": "transcribe",
        "duration": 2.6,
        "text": _TEXT.strip(),
        "segments": [
            {**_SEGMENT, "type": "transcript.text.segment", "id": "seg_0", "text": _TEXT.strip(), "speaker": "A"}
        ],
        "usage": _USAGE,
    },
    "full_json": {
        "text": _TEXT.strip(),
        "language": "en",
        "language_probability": 0.98,
        "duration": 2.6,
        "model": "small",
        "engine": "whisper",
        "task": "transcribe",
        "mode": "windowed",
        "segments": [{**_SEGMENT, "avg_logprob": -0.21, "no_speech_prob": 0.01}],
    },
}

_STREAM_EXAMPLE = (
    'data: {"type":"transcript.text.delta","delta":"The birch canoe","segment":{"id":0,"start":0.0,"end":1.1}}\n\n'
    'data: {"type":"transcript.text.done","text":"The birch canoe","usage":{"type":"tokens","input_tokens":55,'
    '"output_tokens":4,"total_tokens":59}}\n\ndata: [DONE]\n\n'
)

_HEADERS = {
    "x-kikitori-model": "The model that answered.",
    "x-kikitori-engine": "Its engine.",
    "x-kikitori-mode": "How it decoded: `windowed` or `sequential`.",
    "x-kikitori-ignored-fields": "Form fields that mean nothing here: look for misspelt ones.",
}


def transcript_responses() -> dict[int | str, dict[str, Any]]:
    """The answers of the transcription routes, a content type for each format."""
    cue = "00:00:00,000 --> 00:00:02,600\nThe birch canoe slid on the smooth planks.\n"
    content = {
        "application/json": {
            "schema": {"type": "object"},
            "examples": {name: {"summary": name, "value": value} for name, value in _JSON_EXAMPLES.items()},
        },
        "text/plain": {"schema": {"type": "string"}, "example": f"1\n{cue}"},
        "text/vtt": {"schema": {"type": "string"}, "example": f"WEBVTT\n\n{cue.replace(',', '.')}"},
        "text/tab-separated-values": {"schema": {"type": "string"}, "example": f"start\tend\ttext\n0\t2600\t{_TEXT}\n"},
        "text/x-ssa": {"schema": {"type": "string"}},
        MEDIA_TYPES[OutputFormat.DOCX]: {"schema": {"type": "string", "format": "binary"}},
        "text/event-stream": {"example": _STREAM_EXAMPLE},
    }
    headers = {name: {"description": about, "schema": {"type": "string"}} for name, about in _HEADERS.items()}
    success = {"description": "The transcript, in the format asked for.", "content": content, "headers": headers}
    return {200: success, **error_responses(400, 401, 403, 404, 413, 429, 503)}


_ERRORS = {
    400: ("The request is wrong; `param` names the field.", "invalid_value", "invalid_request_error"),
    401: ("The API key is missing or wrong.", "invalid_api_key", "invalid_request_error"),
    403: ("The key lacks the scope.", "forbidden", "permission_error"),
    404: ("There is no such model or task.", "not_found", "invalid_request_error"),
    409: ("Not in this state.", "conflict", "invalid_request_error"),
    413: ("The upload is too large.", "too_large", "invalid_request_error"),
    429: ("Too much at once; `Retry-After` says when to come back.", "rate_limit_exceeded", "rate_limit_error"),
    503: ("No engine is ready; `Retry-After` says when to come back.", "unavailable", "server_error"),
}


_NAME = {"type": ["string", "null"]}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "param": _NAME, "code": _NAME},
        }
    },
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented errors of a route."""
    return {status: _error_response(status) for status in statuses}


def _error_response(status: int) -> dict[str, Any]:
    about, code, kind = _ERRORS[status]
    example = {"error": {"message": about.replace("`", ""), "type": kind, "param": None, "code": code}}
    return {"description": about, "content": {"application/json": {"schema": ERROR, "example": example}}}
