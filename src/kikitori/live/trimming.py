"""Where interim passes over a long utterance begin: what is stable need not be heard again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

from kikitori.live.words import Unit, ends_sentence
from kikitori.types import SAMPLE_RATE, Segment

TRIM_SECONDS = 12.0
"""A window longer than this is cut after stable words."""
WINDOW_SECONDS = 28.0
"""No interim pass hears more."""
STUCK_SECONDS = 20.0
"""A window this long without a stable word: its words become stable up to 2 s before its end."""
STUCK_TAIL_SECONDS = 2.0


def cut_after(committed: Sequence[Unit], segments: Sequence[Segment], start: float, end: float) -> float | None:
    """Where to cut a window from ``start`` to ``end``: after a stable word, in seconds since the session began.

    ``segments`` are those of the newest pass. In order of preference: after the last segment that is stable; after the
    last stable sentence; in the longest pause between stable words; after all of them, where the others leave too
    much. None: nothing is stable after ``start``.
    """
    inside = list(takewhile(lambda unit: unit.end > start, reversed(committed)))[::-1]
    if not inside:
        return None
    last = inside[-1].end
    pauses = [(later.start - unit.end, unit.end) for unit, later in pairwise(inside)]
    cuts = [
        *[segment.end for segment in segments if start < segment.end <= last][-1:],
        *[unit.end for unit in inside if ends_sentence(unit.text)][-1:],
        *[max(pauses)[1] for _ in pauses[:1]],
        last,
    ]
    return next((cut for cut in cuts if end - cut <= TRIM_SECONDS), last)


def window_end(start: int, received: int) -> int:
    """Where a pass that begins at sample ``start`` ends: later audio is for later passes."""
    return min(received, start + int(WINDOW_SECONDS * SAMPLE_RATE))
