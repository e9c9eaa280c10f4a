"""A finished transcript as the body that its client asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kikitori.pipeline.events import Started
from kikitori.text.formats import MEDIA_TYPES, OutputFormat, render_file
from kikitori.text.transcripts import usage_dict
from kikitori.types import Segment, Task, Transcript
from kikitori.web.asked import AnswerFormat, Asked
from kikitori.web.multipart import shown_names

JSON_TYPE = "application/json"

WRITTEN_AS: Mapping[AnswerFormat, OutputFormat] = {
    AnswerFormat.TEXT: OutputFormat.TEXT,
    AnswerFormat.SRT: OutputFormat.SRT,
    AnswerFormat.VERBOSE_JSON: OutputFormat.VERBOSE_JSON,
    AnswerFormat.VTT: OutputFormat.VTT,
    AnswerFormat.FULL_JSON: OutputFormat.JSON,
    AnswerFormat.TXT: OutputFormat.TXT,
    AnswerFormat.TSV: OutputFormat.TSV,
    AnswerFormat.LRC: OutputFormat.LRC,
    AnswerFormat.ASS: OutputFormat.ASS,
    AnswerFormat.DOCX: OutputFormat.DOCX,
}
"""Answers that are the content of a file."""

ANSWER_TYPES: Mapping[AnswerFormat, str] = {
    AnswerFormat.JSON: JSON_TYPE,
    AnswerFormat.DIARIZED_JSON: JSON_TYPE,
    **{answer: MEDIA_TYPES[written] for answer, written in WRITTEN_AS.items()},
    AnswerFormat.SRT: "text/plain; charset=utf-8",  # as OpenAI sends it
}


def write_answer(transcript: Transcript, asked: Asked) -> bytes:
    """The body of the answer. Pure, and slow for a transcript of many hours: for a thread."""
    if written := WRITTEN_AS.get(asked.format):
        names = [granularity.value for granularity in asked.granularities]
        return render_file(transcript, written, layout=asked.layout, granularities=names)
    if asked.format is AnswerFormat.DIARIZED_JSON:
        return json_bytes(diarized_dict(transcript, asked.speaker_names))
    return json_bytes(plain_dict(transcript))


def plain_dict(transcript: Transcript) -> dict[str, Any]:
    """OpenAI's ``json``."""
    if transcript.task is Task.TRANSLATE:
        return {"text": transcript.text}
    return {"text": transcript.text, "usage": usage_dict(transcript)}


def diarized_dict(transcript: Transcript, names: Sequence[str]) -> dict[str, Any]:
    """OpenAI's ``diarized_json``: a channel is a speaker."""
    return {
        "task": "transcribe",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [diarized_segment(segment, names) for segment in transcript.segments],
        "usage": usage_dict(transcript),
    }


def diarized_segment(segment: Segment, names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text.strip(),
        "speaker": speaker_label(segment.speaker, names),
    }


def speaker_label(speaker: str | None, names: Sequence[str]) -> str:
    """The name given for the speaker's channel, else ``A`` for the first, ``B`` for the second …"""
    channel = {"left": 1, "right": 2}.get(speaker or "left") or int((speaker or "").rpartition(" ")[2])
    if channel <= len(names):
        return names[channel - 1]
    return chr(ord("A") + channel - 1) if channel <= 26 else f"speaker {channel}"


def answer_headers(started: Started, asked: Asked) -> dict[str, str]:
    """Which model answered and how: for every format alike."""
    headers = {
        "x-kikitori-model": started.model,
        "x-kikitori-engine": started.engine,
        "x-kikitori-mode": started.mode.value,
    }
    if asked.ignored:
        headers["x-kikitori-ignored-fields"] = shown_names(asked.ignored)
    return {name: value.encode("ascii", "replace").decode() for name, value in headers.items()}


def json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


def long_json_bytes(value: object) -> bytes:
    """The same in many small steps, for threads: while one step is written, nothing else runs in this process."""
    if isinstance(value, dict) and any(isinstance(each, dict | list) for each in value.values()):
        return b"{" + b",".join(json_bytes(name) + b":" + long_json_bytes(each) for name, each in value.items()) + b"}"
    if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        return b"[" + b",".join(map(long_json_bytes, value)) + b"]"
    return json_bytes(value)
