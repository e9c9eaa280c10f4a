"""What a transcription form asks for: OpenAI's fields and all of our options, as one fact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kikitori.errors import InvalidOption
from kikitori.options import DecodeOptions, option_table, parse_options
from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.text.subtitle_options import SubtitleLayout, layout_table, parse_layout
from kikitori.types import Channels, Task
from kikitori.web.multipart import FILE_FIELD, Fields


class AnswerFormat(StrEnum):
    """``response_format``: OpenAI's, and ours after them."""

    JSON = "json"  # the text as JSON
    TEXT = "text"  # the text
    SRT = "srt"  # SubRip subtitles
    VERBOSE_JSON = "verbose_json"  # text, segments, words on request
    VTT = "vtt"  # WebVTT subtitles
    DIARIZED_JSON = "diarized_json"  # segments with speakers; needs channels=split
    FULL_JSON = "full_json"  # everything we know
    TXT = "txt"  # one segment a line
    TSV = "tsv"  # a table: start and end in milliseconds, text
    LRC = "lrc"  # lyrics
    ASS = "ass"  # Advanced SubStation Alpha subtitles
    DOCX = "docx"  # a document for word processors


class Granularity(StrEnum):
    WORD = "word"
    SEGMENT = "segment"


WITH_WORD_TIMES = frozenset(
    {
        AnswerFormat.VERBOSE_JSON,
        AnswerFormat.FULL_JSON,
        AnswerFormat.SRT,
        AnswerFormat.VTT,
        AnswerFormat.LRC,
        AnswerFormat.ASS,
    }
)
"""Answers that show word times, or are laid out by them."""

OPENAI_FIELDS = (
    "model",
    "response_format",
    "prompt",
    "keywords",
    "languages",
    "timestamp_granularities",
    "stream",
    "chunking_strategy",
    "known_speaker_names",
)
"""Fields beside the options that mean something here."""

_CHUNKING = {
    "threshold": "vad_threshold",
    "prefix_padding_ms": "vad_speech_pad_ms",
    "silence_duration_ms": "vad_min_silence_duration_ms",
}
_CHUNKING_DEFAULTS = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200}
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")
_CODES = {name: code for code, name in LANGUAGE_NAMES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One transcription as its client wants it."""

    options: DecodeOptions
    model: str
    """"" is the default model."""
    format: AnswerFormat
    granularities: frozenset[Granularity]
    stream: bool
    layout: SubtitleLayout
    speaker_names: tuple[str, ...]
    """Names for the channels, in their order."""
    ignored: tuple[str, ...]
    """Fields that mean nothing here."""


def read_asked(fields: Fields, *, task: Task | None = None) -> Asked:
    """What ``fields`` ask for; ``task`` is the one of the route. Raises InvalidOption."""
    answer = _format(fields)
    stream = _flag(fields, "stream")
    granularities = _granularities(fields, answer, stream)
    values = _option_values(fields)
    if Granularity.WORD in granularities:
        _set(values, "word_timestamps", "true", because="timestamp_granularities has word")
    if task is not None:
        _set(values, "task", task.value, because="the route says so")
    options = parse_options(values)
    if answer is AnswerFormat.DIARIZED_JSON and options.channels is not Channels.SPLIT:
        raise InvalidOption("response_format", answer.value, "diarized_json with channels=split: each channel speaks")
    return Asked(
        options=options,
        model=fields.one("model"),
        format=answer,
        granularities=granularities,
        stream=stream,
        layout=parse_layout({row.name: fields.one(row.name) for row in layout_table()}),
        speaker_names=tuple(fields.many("known_speaker_names")),
        ignored=_ignored(fields),
    )


def _option_values(fields: Fields) -> dict[str, object]:
    """What the form says on our options, under their names."""
    values: dict[str, object] = dict(_chunking_values(fields))
    for row in option_table():
        given = fields.many(row.name)
        if row.name == "temperature" and _is_zero(given):
            continue  # OpenAI: 0 asks for the schedule of fallbacks, which is the default
        if row.many and len(given) > 1:
            values[row.name] = given
        elif text := _raw(fields, row.name):
            values[row.name] = text
    if prompt := fields.one("prompt"):
        _set(values, "initial_prompt", prompt, because="prompt is given too")
    if keywords := ", ".join(word.strip() for word in fields.many("keywords") if word.strip()):
        values.setdefault("hotwords", keywords)
    if language := fields.one("language") or _only_language(fields):
        values["language"] = language_code(language)
    return values


def language_code(language: str) -> str:
    """``English``, ``en-US`` and ``EN`` are ``en``."""
    plain = language.strip().lower()
    return _CODES.get(plain) or plain.replace("_", "-").partition("-")[0]


def _only_language(fields: Fields) -> str:
    """One candidate is the language; of several the model finds out."""
    candidates = [value for value in fields.many("languages") if value.strip()]
    return candidates[0] if len(candidates) == 1 else ""


def _raw(fields: Fields, name: str) -> str:
    """The value as sent where space matters, otherwise without space around it."""
    return fields.many(name)[-1] if name.endswith("_punctuations") and fields.many(name) else fields.one(name)


def _is_zero(given: list[str]) -> bool:
    """A single plain 0; a list in brackets is meant as one."""
    try:
        return len(given) == 1 and float(given[0]) == 0.0
    except ValueError:
        return False


def _set(values: dict[str, object], name: str, value: str, *, because: str) -> None:
    """Set an option that another field decides on; raises InvalidOption when it was given otherwise."""
    given = str(values.setdefault(name, value)).strip()
    if given != value and not (value == "true" and given.lower() in _TRUE):
        raise InvalidOption(name, given, f"{value}, because {because}")


def _chunking_values(fields: Fields) -> Mapping[str, object]:
    """OpenAI's ``chunking_strategy`` as VAD options: ``auto``, JSON, or bracketed fields.

    ``auto`` changes nothing: recordings are cut at silences anyway.
    """
    strategy: dict[str, object] = dict(fields.keyed("chunking_strategy"))
    text = fields.one("chunking_strategy")
    if text.startswith("{"):
        strategy |= _json_object(text)
    elif text:
        strategy["type"] = text
    kind = strategy.pop("type", "auto" if not strategy else "server_vad")
    if kind in ("auto", "none", "null"):
        return {}
    if kind != "server_vad" or not strategy.keys() <= _CHUNKING.keys():
        raise InvalidOption("chunking_strategy", text or kind, f"auto, or server_vad with {', '.join(_CHUNKING)}")
    chosen = {**_CHUNKING_DEFAULTS, **strategy}
    return {"vad_filter": "true", **{_CHUNKING[name]: str(value) for name, value in chosen.items()}}


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidOption("chunking_strategy", text, "auto, or a JSON object with a type")
    return value


def _granularities(fields: Fields, answer: AnswerFormat, stream: bool) -> frozenset[Granularity]:
    given = [part.strip() for value in fields.many("timestamp_granularities") for part in value.strip("[]").split(",")]
    names = [name.strip("\"' ") for name in given if name.strip("\"' ")]
    for name in names:
        if name not in set(Granularity):
            raise InvalidOption("timestamp_granularities", name, "word, segment")
    granularities = frozenset(Granularity(name) for name in names) or frozenset({Granularity.SEGMENT})
    if Granularity.WORD in granularities and not stream and answer not in WITH_WORD_TIMES:
        raise InvalidOption("timestamp_granularities", "word", "word with response_format=verbose_json")
    return granularities


def _flag(fields: Fields, name: str) -> bool:
    text = fields.one(name, "false").lower()
    if text not in (*_TRUE, *_FALSE):
        raise InvalidOption(name, text, "true, false")
    return text in _TRUE


def _format(fields: Fields) -> AnswerFormat:
    text = fields.one("response_format", AnswerFormat.JSON)
    if text not in set(AnswerFormat):
        raise InvalidOption("response_format", text, ", ".join(AnswerFormat))
    return AnswerFormat(text)


def _ignored(fields: Fields) -> tuple[str, ...]:
    known = {FILE_FIELD, *OPENAI_FIELDS}
    known |= {row.name for row in option_table()} | {row.name for row in layout_table()}
    if len(fields.many("languages")) > 1:
        known.discard("languages")
    return tuple(name for name in fields.names() if name.partition("[")[0] not in known)
