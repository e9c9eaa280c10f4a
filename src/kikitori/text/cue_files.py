"""Cues → subtitle files. Each function takes cues and gives the whole file."""

from __future__ import annotations

import io
from collections.abc import Sequence

from pysubs2 import SSAEvent, SSAFile
from pysubs2.formats.substation import SubstationFormat

from kikitori.text.durations import ass_timestamp, format_timestamp, lrc_timestamp, milliseconds
from kikitori.text.glyphs import is_spaceless
from kikitori.text.subtitles import Cue

# pysubs2 writes SubRip and WebVTT too, but stops at 99:59:59, takes "{…}" and "\N" in the text for
# markup of its own and drops them, and does not escape "&" and "<" for WebVTT. So these are written here.


def write_srt(cues: Sequence[Cue]) -> str:
    """SubRip."""
    blocks = (
        f"{number}\n{_times(cue, ',')}\n" + "".join(f"{line}\n" for line in cue.lines)
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def write_vtt(cues: Sequence[Cue], *, voices: bool = False) -> str:
    """WebVTT; with ``voices`` a cue names its speaker in a voice tag."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        lines = [_escape_vtt(line) for line in cue.lines]
        if voices and cue.speaker:
            lines[0] = f"<v {_escape_vtt(' '.join(cue.speaker.split()))}>{lines[0]}"
        blocks.append(f"{_times(cue, '.')}\n" + "".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)


def write_lrc(cues: Sequence[Cue]) -> str:
    """Lyrics: one line for each cue, at its start."""
    return "".join(f"[{lrc_timestamp(cue.start)}]{_joined(cue.lines)}\n" for cue in cues)


def write_ass(cues: Sequence[Cue]) -> str:
    """Advanced SubStation Alpha."""
    subs = SSAFile()
    subs.info |= {"PlayResX": "1280", "PlayResY": "720"}
    style = subs.styles["Default"]
    style.fontsize, style.outline, style.shadow, style.marginv = 44.0, 2.0, 1.0, 36
    subs.events = [
        SSAEvent(
            start=milliseconds(cue.start),
            end=milliseconds(cue.end),
            name=" ".join((cue.speaker or "").replace(",", " ").split()),
            text=r"\N".join(_escape_ass(line) for line in cue.lines),
        )
        for cue in cues
    ]
    file = io.StringIO()
    _LongSubstation.to_file(subs, file, "ass", header_notice="Written by Kikitori")
    return file.getvalue()


class _LongSubstation(SubstationFormat):
    """pysubs2 cuts every time at 9:59:59.99; players read on, and recordings last longer."""

    @staticmethod
    def ms_to_timestamp(requested_ms: int) -> str:
        return ass_timestamp(requested_ms / 1000)


def _times(cue: Cue, decimal: str) -> str:
    return f"{format_timestamp(cue.start, decimal)} --> {format_timestamp(cue.end, decimal)}"


def _escape_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escape_ass(text: str) -> str:
    r"""Braces as libass reads them; a word joiner keeps ``\N`` and its like in the text from breaking the line."""
    return text.replace("\\", "\\\u2060").replace("{", r"\{").replace("}", r"\}")


def _joined(lines: Sequence[str]) -> str:
    """Lines in one, with a space between unless the script writes none."""
    text = lines[0]
    for line in lines[1:]:
        text += line if is_spaceless(text[-1]) or is_spaceless(line[0]) else f" {line}"
    return text
