"""Where to break: units into cues, and a cue's units into lines. The cheapest way wins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate

from kikitori.text.glyphs import Break
from kikitori.text.subtitle_options import SubtitleLayout
from kikitori.text.units import Stretch, Unit

# The price of a cue: what its end cuts, what it holds together, how it looks.
CUE_END = {Break.RUN: 9.0, Break.WORD: 6.0, Break.CLAUSE: 2.0, Break.SENTENCE: 0.0}
SEGMENT_END = 1.0
"""Most for ending where the engine ended a segment."""
SENTENCE_INSIDE = 5.0
SEGMENT_INSIDE = 4.5
EVERY_CUE = 4.0
FULL_CUE = 4.0
"""Grows with the square of the fill, so that long sentences fall into equal parts."""
SHORT_CUE = 5.0
ORPHAN_CUE = 6.0
ORPHAN_CUE_COLUMNS = 12
"""A word up to this wide looks lost in a cue of its own."""

# The price of a line.
LINE_END = {Break.RUN: 6.0, Break.WORD: 3.0, Break.CLAUSE: 1.0, Break.SENTENCE: 0.0}
UNEVEN_LINE = 12.0
"""Grows with the square of the distance from lines of one length."""
ORPHAN_LINE = 4.0
ORPHAN_LINE_COLUMNS = 6

Span = tuple[int, int]


def cue_spans(stretch: Stretch, layout: SubtitleLayout) -> list[Span]:
    """First and last + 1 index of the units of each cue: the cheapest sequence that fits."""
    units = stretch.units
    offsets = _offsets(units)
    starts, ends = [unit.start for unit in units], [unit.end for unit in units]
    torn = [_end_cost(units, index, layout.pause_seconds) for index in range(len(units))]
    inside = [0.0, *accumulate(_inside_cost(unit) for unit in units)]
    lost = [_is_orphan(units, index) for index in range(len(units))]
    room = layout.max_line_width * layout.max_lines
    best = [0.0] + [math.inf] * len(units)
    origin = [0] * (len(units) + 1)
    for first, last in _candidates(units, offsets, stretch.indent, layout):
        seconds = ends[last] - starts[first]
        cost = best[first] + torn[last] + inside[last] - inside[first] + EVERY_CUE
        cost += FULL_CUE * ((offsets[last + 1] - offsets[first]) / room) ** 2
        if seconds < layout.min_cue_seconds:
            cost += SHORT_CUE * (1 - seconds / layout.min_cue_seconds)
        if first == last and lost[first]:
            cost += ORPHAN_CUE
        if cost < best[last + 1]:
            best[last + 1], origin[last + 1] = cost, first
    return _traced(origin)


def line_spans(units: Sequence[Unit], layout: SubtitleLayout, indent: int = 0) -> list[Span]:
    """The same for the lines of one cue: as few lines as hold it, broken at the best places."""
    room = layout.max_line_width
    for lines in range(1, layout.max_lines + 1):
        ways = _ways(units, lines, room, indent)
        if len(units) in ways:
            return ways[len(units)][1]
    raise AssertionError("a cue always fits")  # cue_spans has measured it


def _ways(units: Sequence[Unit], lines: int, room: int, indent: int) -> dict[int, tuple[float, list[Span]]]:
    """The cheapest way to set units in just so many lines, by the number of units set."""
    offsets = _offsets(units)
    even = (offsets[-1] + indent) / lines
    ways: dict[int, tuple[float, list[Span]]] = {0: (0.0, [])}
    for line in range(1, lines + 1):
        reached: dict[int, tuple[float, list[Span]]] = {}
        for first, (cost, spans) in ways.items():
            for last in range(first + 1, len(units) + 1):
                columns = offsets[last] - offsets[first] - units[first].spaced + (indent if line == 1 else 0)
                if columns > room:
                    break
                if (line == lines) == (last == len(units)):
                    price = cost + _line_cost(units, (first, last), (columns - even) / room)
                    if last not in reached or price < reached[last][0]:
                        reached[last] = (price, [*spans, (first, last)])
        ways = reached
    return ways


def _line_cost(units: Sequence[Unit], span: Span, uneven: float) -> float:
    first, last = span
    cost = UNEVEN_LINE * uneven**2
    if last < len(units):
        cost += LINE_END[units[last - 1].after]
    lost = last - first == 1 < len(units) and units[first].columns <= ORPHAN_LINE_COLUMNS
    return cost + ORPHAN_LINE * lost


def _candidates(
    units: Sequence[Unit], offsets: Sequence[int], indent: int, layout: SubtitleLayout
) -> Iterator[tuple[int, int]]:
    """First and last unit of every cue that fits. A unit alone always makes one."""
    spaces, ends = [unit.spaced for unit in units], [unit.end for unit in units]
    width, max_lines = layout.max_line_width, layout.max_lines
    for first, unit in enumerate(units):
        latest = unit.start + layout.max_cue_seconds
        lines, limit = 1, offsets[first] + spaces[first] + width - indent
        yield first, first
        for last in range(first + 1, len(units)):
            if offsets[last + 1] > limit:
                lines, limit = lines + 1, offsets[last] + spaces[last] + width
            if lines > max_lines or ends[last] > latest:
                break
            yield first, last


def _is_orphan(units: Sequence[Unit], index: int) -> bool:
    """A short word that would be torn from its sentence if it stood alone."""
    unit = units[index]
    whole = unit.after is Break.SENTENCE and (index == 0 or units[index - 1].after is Break.SENTENCE)
    return unit.columns <= ORPHAN_CUE_COLUMNS and len(units) > 1 and not whole


def _end_cost(units: Sequence[Unit], index: int, pause: float) -> float:
    """What it costs to end a cue after a unit; less where the speaker pauses."""
    if index == len(units) - 1:
        return 0.0
    unit = units[index]
    cost = CUE_END[unit.after]
    if unit.ends_segment:
        cost = min(cost, SEGMENT_END)
    silence = units[index + 1].start - unit.end
    return cost * (1 - min(1.0, silence / pause))


def _inside_cost(unit: Unit) -> float:
    if unit.after is Break.SENTENCE:
        return SENTENCE_INSIDE
    return SEGMENT_INSIDE if unit.ends_segment else 0.0


def _offsets(units: Sequence[Unit]) -> list[int]:
    """Columns up to each unit if all stood on one line."""
    return [0, *accumulate(unit.columns + unit.spaced for unit in units)]


def _traced(origin: Sequence[int]) -> list[Span]:
    spans: list[Span] = []
    last = len(origin) - 1
    while last > 0:
        spans.append((origin[last], last))
        last = origin[last]
    return spans[::-1]
