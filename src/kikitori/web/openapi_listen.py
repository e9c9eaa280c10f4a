"""``POST /v1/listen`` described: the query, the body, and answers in Deepgram's shapes."""

from __future__ import annotations

from typing import Any

from kikitori.web.openapi import FILE, error_responses

_FLAGS = {
    "multichannel": "Each channel by itself.",
    "utterances": "Also cut at pauses.",
    "paragraphs": "Also in paragraphs and sentences.",
    "detect_language": "Find the language; it is found anyway unless `language` names it.",
}
_TEXTS = {
    "model": ("A model or alias of this server; Deepgram's names (`nova-3` …) are the default model.", "nova-3"),
    "language": ("Such as `en`, `ko-KR`; `multi` or none: detected.", "en"),
    "keyterm": ("A word to listen for; may come several times.", ""),
    "encoding": ("Of samples without a head: `linear16`, `linear32`, `mulaw`, `alaw`.", ""),
}
_ERROR = {
    "type": "object",
    "required": ["err_code", "err_msg", "request_id"],
    "properties": {name: {"type": "string"} for name in ("err_code", "err_msg", "request_id")},
}
_WORD = {"word": "hello", "start": 0.5, "end": 0.9, "confidence": 0.98, "punctuated_word": "Hello."}
_EXAMPLE = {
    "metadata": {"request_id": "5e1f…", "duration": 1.5, "channels": 1},
    "results": {"channels": [{"alternatives": [{"transcript": "Hello.", "confidence": 0.98, "words": [_WORD]}]}]},
}


def listen_request() -> dict[str, Any]:
    """Parameters and body."""
    url = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    return {
        "parameters": _parameters(),
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": FILE},
                "application/json": {"schema": url, "example": {"url": "https://example.org/talk.mp3"}},
            },
        },
    }


def listen_responses() -> dict[int | str, dict[str, Any]]:
    schema = {"type": "object", "required": ["metadata", "results"]}
    answer = {
        "description": "The transcript.",
        "content": {"application/json": {"schema": schema, "example": _EXAMPLE}},
    }
    return {200: answer} | {status: _refused(told) for status, told in error_responses(*_STATUSES).items()}


_STATUSES = (400, 401, 403, 404, 413, 429, 503)


def _refused(told: dict[str, Any]) -> dict[str, Any]:
    return {"description": told["description"], "content": {"application/json": {"schema": _ERROR}}}


def _parameters() -> list[dict[str, Any]]:
    texts = [(name, about, {"type": "string"}, example) for name, (about, example) in _TEXTS.items()]
    flags = [(name, about, {"type": "boolean", "default": False}, None) for name, about in _FLAGS.items()]
    return [
        {"name": name, "in": "query", "required": False, "description": about, "schema": schema}
        | ({"example": example} if example else {})
        for name, about, schema, example in (*texts, *flags)
    ]
