"""Every form a transcript is given out in."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from kikitori.errors import InvalidOption
from kikitori.text.cue_files import write_ass, write_lrc, write_srt, write_vtt
from kikitori.text.durations import milliseconds
from kikitori.text.subtitles import DEFAULT_LAYOUT, SubtitleLayout, layout_cues
from kikitori.text.transcripts import transcript_dict, verbose_dict
from kikitori.types import Transcript

SEGMENTS = frozenset({"segment"})


class OutputFormat(StrEnum):
    """A form of a transcript; the value is its name in the API and on the command line."""

    TEXT = "text"  # the text in one paragraph
    TXT = "txt"  # one segment a line
    JSON = "json"  # everything we know
    VERBOSE_JSON = "verbose_json"  # OpenAI's detailed answer
    SRT = "srt"  # SubRip subtitles
    VTT = "vtt"  # WebVTT subtitles
    TSV = "tsv"  # a table: start and end in milliseconds, text
    LRC = "lrc"  # lyrics: a time before each line
    ASS = "ass"  # Advanced SubStation Alpha subtitles
    DOCX = "docx"  # a document for word processors: paragraphs with their times


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What a caller may say on the way a format is written."""

    layout: SubtitleLayout = DEFAULT_LAYOUT
    granularities: Collection[str] = SEGMENTS
    """Those of ``verbose_json``."""
    title: str = ""
    """Of a document; what the recording is called."""


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """How one format is written and named."""

    write: Callable[[Transcript, Manner], str | bytes]
    media_type: str
    suffix: str


def render(
    transcript: Transcript,
    format: OutputFormat,
    *,
    layout: SubtitleLayout = DEFAULT_LAYOUT,
    granularities: Collection[str] = SEGMENTS,
) -> str:
    """``transcript`` as the whole content of a text file. Raises InvalidOption for a format that is no text."""
    written = FORMATS[format].write(transcript, Manner(layout=layout, granularities=granularities))
    if isinstance(written, bytes):
        raise InvalidOption("format", format.value, ", ".join(each for each in OutputFormat if each not in BINARY))
    return written


def render_file(
    transcript: Transcript,
    format: OutputFormat,
    *,
    layout: SubtitleLayout = DEFAULT_LAYOUT,
    granularities: Collection[str] = SEGMENTS,
    title: str = "",
) -> bytes:
    """``transcript`` as the whole content of a file of any format; text is UTF-8."""
    manner = Manner(layout=layout, granularities=granularities, title=title)
    written = FORMATS[format].write(transcript, manner)
    return written if isinstance(written, bytes) else written.encode(errors="replace")


def _text(transcript: Transcript, how: Manner) -> str:
    return f"{transcript.text}\n"


def _txt(transcript: Transcript, how: Manner) -> str:
    lines = []
    for segment in transcript.segments:
        text = " ".join(segment.text.split())
        prefix = f"{segment.speaker}: " if segment.speaker and how.layout.speaker_prefix else ""
        lines.append(f"{prefix}{text}\n" if text else "")
    return "".join(lines)


def _json(transcript: Transcript, how: Manner) -> str:
    return json.dumps(transcript_dict(transcript), ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _verbose_json(transcript: Transcript, how: Manner) -> str:
    written = verbose_dict(transcript, how.granularities)
    return json.dumps(written, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _srt(transcript: Transcript, how: Manner) -> str:
    return write_srt(layout_cues(transcript, how.layout))


def _vtt(transcript: Transcript, how: Manner) -> str:
    return write_vtt(layout_cues(transcript, how.layout), voices=not how.layout.speaker_prefix)


def _tsv(transcript: Transcript, how: Manner) -> str:
    """openai-whisper's columns; a fourth one when channels were split."""
    with_speaker = any(segment.speaker for segment in transcript.segments)
    rows = [["start", "end", "text", *["speaker"] * with_speaker]]
    for segment in transcript.segments:
        start, end = milliseconds(segment.start), milliseconds(segment.end)
        row = [str(start), str(max(start, end)), segment.text, *[segment.speaker or ""] * with_speaker]
        rows.append([" ".join(cell.split()) for cell in row])
    return "".join("\t".join(row) + "\n" for row in rows)


def _lrc(transcript: Transcript, how: Manner) -> str:
    return write_lrc(layout_cues(transcript, replace(how.layout, max_lines=1)))


def _ass(transcript: Transcript, how: Manner) -> str:
    return write_ass(layout_cues(transcript, how.layout))


def _docx(transcript: Transcript, how: Manner) -> bytes:
    from kikitori.text.document import write_docx  # slow to import, and seldom asked for

    return write_docx(transcript, title=how.title, speakers=how.layout.speaker_prefix)


FORMATS: Mapping[OutputFormat, FormatSpec] = {
    OutputFormat.TEXT: FormatSpec(_text, "text/plain; charset=utf-8", ".txt"),
    OutputFormat.TXT: FormatSpec(_txt, "text/plain; charset=utf-8", ".txt"),
    OutputFormat.JSON: FormatSpec(_json, "application/json", ".json"),
    OutputFormat.VERBOSE_JSON: FormatSpec(_verbose_json, "application/json", ".json"),
    OutputFormat.SRT: FormatSpec(_srt, "application/x-subrip; charset=utf-8", ".srt"),
    OutputFormat.VTT: FormatSpec(_vtt, "text/vtt; charset=utf-8", ".vtt"),
    OutputFormat.TSV: FormatSpec(_tsv, "text/tab-separated-values; charset=utf-8", ".tsv"),
    OutputFormat.LRC: FormatSpec(_lrc, "text/plain; charset=utf-8", ".lrc"),
    OutputFormat.ASS: FormatSpec(_ass, "text/x-ssa; charset=utf-8", ".ass"),
    OutputFormat.DOCX: FormatSpec(
        _docx, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"
    ),
}

MEDIA_TYPES: Mapping[OutputFormat, str] = {name: spec.media_type for name, spec in FORMATS.items()}
SUFFIXES: Mapping[OutputFormat, str] = {name: spec.suffix for name, spec in FORMATS.items()}
BINARY = frozenset({OutputFormat.DOCX})
"""Formats that are not text: no terminal can show them."""
