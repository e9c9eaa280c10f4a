"""Transcript ⇄ JSON objects: our own form, which loses nothing, and OpenAI's ``verbose_json``."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kikitori.errors import InvalidInput
from kikitori.text.durations import finite
from kikitori.text.languages import language_name
from kikitori.types import Segment, Task, Transcript

_TRANSCRIPT = TypeAdapter(Transcript)


def transcript_dict(transcript: Transcript) -> dict[str, Any]:
    """Everything, under the names of the dataclasses; what is None is left out."""
    plain = _plain(transcript)
    segments = plain.pop("segments")
    return {"text": plain.pop("text"), **plain, "segments": segments}


def segment_dict(segment: Segment) -> dict[str, Any]:
    """One segment as it stands in ``transcript_dict``."""
    plain: dict[str, Any] = _plain(segment)
    return plain


def transcript_from_dict(values: Mapping[str, Any]) -> Transcript:
    """The inverse of ``transcript_dict``; names it does not know are ignored. Raises InvalidInput."""
    try:
        return _TRANSCRIPT.validate_python({name: value for name, value in values.items() if name != "text"})
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"Not a transcript: {where}: {first['msg']}.", param=where) from exc


def verbose_dict(transcript: Transcript, granularities: Collection[str] = ("segment",)) -> dict[str, Any]:
    """OpenAI's ``verbose_json``; times to the millisecond, ``words`` and ``segments`` when asked for."""
    translated = transcript.task is Task.TRANSLATE
    answer: dict[str, Any] = {
        "task": transcript.task.value,
        "language": language_name("en" if translated else transcript.language),
        "duration": _seconds(transcript.duration),
        "text": transcript.text,
    }
    if "segment" in granularities:
        answer["segments"] = [_verbose_segment(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = _verbose_words(transcript)
    return answer | {"usage": usage_dict(transcript)}


def usage_dict(transcript: Transcript) -> dict[str, Any]:
    """OpenAI's ``usage``: audio is counted in whole seconds begun."""
    return {"type": "duration", "seconds": math.ceil(_seconds(transcript.duration))}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        items = ((item.name, getattr(value, item.name)) for item in fields(value))
        return {name: _plain(part) for name, part in items if part is not None}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return finite(value)
    return value.value if isinstance(value, Enum) else value


def _verbose_segment(segment: Segment) -> dict[str, Any]:
    start = _seconds(segment.start)
    answer = {
        "id": segment.id,
        "seek": round(start * 100),  # frames of 10 ms; segments do not remember where their window began
        "start": start,
        "end": _seconds(segment.end),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": finite(segment.temperature),
        "avg_logprob": finite(segment.avg_logprob),
        "compression_ratio": finite(segment.compression_ratio),
        "no_speech_prob": finite(segment.no_speech_prob),
    }
    return answer if segment.speaker is None else answer | {"speaker": segment.speaker}


def _verbose_words(transcript: Transcript) -> list[dict[str, Any]]:
    """Words without space, in the order of their starts, inside the recording."""
    last = _seconds(transcript.duration) or math.inf
    words = [
        {
            "word": word.word.strip(),
            "start": min(_seconds(word.start), last),
            "end": min(max(_seconds(word.start), _seconds(word.end)), last),
        }
        for segment in transcript.segments
        for word in segment.words or ()
    ]
    return sorted(words, key=lambda word: float(word["start"]))


def _seconds(value: float) -> float:
    return float(round(max(0.0, finite(value)), 3))
