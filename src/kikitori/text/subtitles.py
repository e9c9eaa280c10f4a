"""Transcript → cues: what stands on the screen, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kikitori.text.breaking import cue_spans, line_spans
from kikitori.text.durations import milliseconds
from kikitori.text.subtitle_options import DEFAULT_LAYOUT, SubtitleLayout, layout_table, parse_layout
from kikitori.text.units import Stretch, Unit, stretches
from kikitori.types import Transcript

__all__ = ["DEFAULT_LAYOUT", "Cue", "SubtitleLayout", "layout_cues", "layout_table", "parse_layout"]

SHORTEST_MS = 100
"""No cue is shorter, whatever times came in; every format can write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """Lines shown from ``start`` to ``end``, both whole milliseconds."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None = None


def layout_cues(transcript: Transcript, layout: SubtitleLayout = DEFAULT_LAYOUT) -> list[Cue]:
    """Cues in time order that never overlap; together they hold all the text, each speaker's in its order.

    Word times are used where the words make up their segment's text; else a segment is split in
    proportion to the widths of its parts. Broken times (backward, overlapping, NaN) are repaired.
    """
    cues = [cue for stretch in stretches(transcript, layout) for cue in _cues(stretch, layout)]
    if len({cue.speaker for cue in cues}) > 1:
        cues.sort(key=lambda cue: cue.start)
    return _placed(cues, layout, milliseconds(transcript.duration))


def _cues(stretch: Stretch, layout: SubtitleLayout) -> list[Cue]:
    cues: list[Cue] = []
    for first, last in cue_spans(stretch, layout):
        units = stretch.units[first:last]
        lines = [_line(units[begin:end]) for begin, end in line_spans(units, layout, stretch.indent)]
        lines[0] = stretch.prefix + lines[0]
        cues.append(Cue(start=units[0].start, end=units[-1].end, lines=tuple(lines), speaker=stretch.speaker))
    return cues


def _line(units: Sequence[Unit]) -> str:
    head, *rest = units
    return head.text + "".join(" " * unit.spaced + unit.text for unit in rest)


def _placed(cues: Sequence[Cue], layout: SubtitleLayout, duration_ms: int) -> list[Cue]:
    """Give every cue its time on the screen, in whole milliseconds."""
    least, most = milliseconds(layout.min_cue_seconds), milliseconds(layout.max_cue_seconds)
    gap = milliseconds(layout.cue_gap_seconds)
    placed: list[Cue] = []
    free = 0
    for index, cue in enumerate(cues):
        start, end = max(free, milliseconds(cue.start)), milliseconds(cue.end)
        if index + 1 < len(cues):
            until = milliseconds(cues[index + 1].start) - gap
        else:
            until = max(end, duration_ms) if duration_ms else start + most
        shortest = SHORTEST_MS
        if until + gap < end:  # two speakers at once: nobody is cut below a readable time
            shortest = max(shortest, min(end - milliseconds(cue.start), least))
        free = max(min(max(end, start + least), until, start + most), start + shortest)
        placed.append(Cue(start=start / 1000, end=free / 1000, lines=cue.lines, speaker=cue.speaker))
    return placed
