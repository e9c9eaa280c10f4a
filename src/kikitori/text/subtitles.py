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
    """Cues in time order; together they hold all the text, each speaker's in its order.

    Cues of one speaker never overlap, those of several only where they speak at once.
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
    free: dict[str | None, int] = {}
    for index, (cue, own) in enumerate(zip(cues, _next_starts(cues), strict=True)):
        start, end = max(free.get(cue.speaker, 0), milliseconds(cue.start)), milliseconds(cue.end)
        if own is not None:
            until = own - gap
        else:
            until = max(end, duration_ms) if duration_ms else start + most
        if index + 1 < len(cues):  # two speakers at once keep their times, but nobody is shown longer beside another
            after = milliseconds(cues[index + 1].start)
            until = min(until, end if after < end else after - gap)
        shown = max(min(max(end, start + least), until, start + most), start + SHORTEST_MS)
        placed.append(Cue(start=start / 1000, end=shown / 1000, lines=cue.lines, speaker=cue.speaker))
        free[cue.speaker] = shown
    return sorted(placed, key=lambda cue: cue.start)


def _next_starts(cues: Sequence[Cue]) -> list[int | None]:
    """For each cue, when the next one of its speaker starts, in milliseconds."""
    starts: list[int | None] = []
    later: dict[str | None, int] = {}
    for cue in reversed(cues):
        starts.append(later.get(cue.speaker))
        later[cue.speaker] = milliseconds(cue.start)
    return starts[::-1]
