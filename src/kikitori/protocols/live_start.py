"""``start`` of the plain WebSocket: its fields → what a session is asked to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from kikitori.errors import InvalidOption
from kikitori.live.options import LiveOptions, check_live_options
from kikitori.options import DecodeOptions, parse_options
from kikitori.protocols.actions import Encoding, InputFormat

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
"""Hz."""

LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8}){0,8}")
"""BCP-47, as far as the language goes: ``ko``, ``ko-KR``, ``zh-Hans-CN``."""

WHISPER_CODES = {"cmn": "zh", "fil": "tl", "in": "id", "iw": "he", "jv": "jw", "nb": "no"}
"""Languages that Whisper knows under another code."""

ENGINE_MODELS = {"whisper": "auto"}
"""The model that an engine alone stands for; the others carry a model of their own name."""

DECODE_FIELDS = {
    "prompt": "initial_prompt",
    "hotwords": "hotwords",
    "task": "task",
    "beam_size": "beam_size",
    "audio_context": "audio_context",
}
"""Fields of ``start`` that are decode options, and the names they have there."""

LIVE_FIELDS = tuple(item.name for item in fields(LiveOptions) if item.name not in ("model", "decode", "quiet_ms"))
"""Fields of ``start`` that are options of a session, by the same name."""

OTHER_FIELDS = (
    "type", "lang", "sample_rate", "encoding", "model", "engine", "words", "resumable", "record",
    "audio_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A ``start``, read."""

    lang: str
    """As the client wrote it; ``auto`` when it did not."""
    options: LiveOptions
    format: InputFormat
    record: bool = False
    resumable: bool = False
    ignored: tuple[str, ...] = ()
    """Fields that mean nothing here."""


def read_start(message: Mapping[str, Any], defaults: LiveOptions) -> Start:
    """What a ``start`` asks for. Raises InvalidOption, naming the field."""
    given = {name: value for name, value in message.items() if value is not None}
    lang = _text(given, "lang", "auto").strip() or "auto"
    input_format = _format(given)
    resumable = _flag(given, "resumable")
    if resumable and not input_format.encoding.has_rate:
        allowed = "false with this encoding: only samples without a container (s16le, f32le, mulaw, alaw) can go on"
        raise InvalidOption("resumable", True, allowed)
    return Start(
        lang=lang,
        options=_options(given, _language(lang) if "lang" in given else defaults.decode.language, defaults),
        format=input_format,
        record=_flag(given, "record"),
        resumable=resumable,
        ignored=tuple(sorted(given.keys() - {*LIVE_FIELDS, *DECODE_FIELDS, *OTHER_FIELDS})),
    )


def language_code(tag: str) -> str | None:
    """The code of the language of a BCP-47 tag; None for ``auto``. Raises ValueError."""
    if tag.lower() == "auto":
        return None
    if not (match := LANGUAGE_TAG.fullmatch(tag)):
        raise ValueError(tag)
    code = match[1].lower()
    return WHISPER_CODES.get(code, code)


def _language(tag: str) -> str | None:
    try:
        return language_code(tag)
    except ValueError as exc:
        raise InvalidOption("lang", tag, "a language such as ko-KR, ja, en-US, or auto") from exc


def _options(given: Mapping[str, Any], language: str | None, defaults: LiveOptions) -> LiveOptions:
    live = {item.name: getattr(defaults, item.name) for item in fields(LiveOptions)}
    live |= {name: _number_or_text(name, given[name]) for name in LIVE_FIELDS if name in given}
    live["decode"] = _decode(given, language, defaults.decode)
    live["model"] = _model(given, defaults.model)
    return check_live_options(live)


def _decode(given: Mapping[str, Any], language: str | None, defaults: DecodeOptions) -> DecodeOptions:
    asked = {name: given[name] for name in DECODE_FIELDS if name in given}
    try:
        checked = parse_options({DECODE_FIELDS[name]: value for name, value in asked.items()})
    except InvalidOption as exc:
        theirs = next((name for name, ours in DECODE_FIELDS.items() if ours == exc.field), exc.field)
        raise InvalidOption(theirs, exc.value, exc.allowed) from exc
    changes = {DECODE_FIELDS[name]: getattr(checked, DECODE_FIELDS[name]) for name in asked}
    words = _flag(given, "words", default=True)
    return replace(defaults, **changes, language=language, word_timestamps=words)


def _model(given: Mapping[str, Any], default: str) -> str:
    """``model`` says it; else ``engine`` does, by the model that it carries."""
    model, engine = _text(given, "model", "").strip(), _text(given, "engine", "").strip()
    return model or ENGINE_MODELS.get(engine, engine) or default


def _format(given: Mapping[str, Any]) -> InputFormat:
    name = given.get("encoding", Encoding.S16LE.value)
    try:
        encoding = Encoding(name)
    except ValueError as exc:
        raise InvalidOption("encoding", name, ", ".join(item.value for item in Encoding)) from exc
    rate = given.get("sample_rate", InputFormat().rate)
    if isinstance(rate, float) and rate.is_integer():
        rate = int(rate)
    if isinstance(rate, bool) or not isinstance(rate, int) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InvalidOption("sample_rate", rate, f"a whole number of {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return InputFormat(encoding=encoding, rate=rate)


def _text(given: Mapping[str, Any], name: str, default: str) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise InvalidOption(name, value, "text")
    return value


def _flag(given: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise InvalidOption(name, value, "true, false")
    return value


def _number_or_text(name: str, value: object) -> object:
    if not isinstance(value, str | int | float):
        raise InvalidOption(name, value, "a number, text, true or false")
    return value
