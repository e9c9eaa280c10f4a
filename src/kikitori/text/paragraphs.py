"""Segments → paragraphs, as people read them: one ends with its speaker, at a pause, and when it is long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kikitori.text.durations import finite
from kikitori.types import Segment, join_text

PAUSE_SECONDS = 2.0
"""A silence this long after a sentence begins a new paragraph."""
LONG_SECONDS, LONGEST_SECONDS = 40.0, 90.0
"""A paragraph ends with the first sentence after the one, and after the other in any case."""
SENTENCE_ENDS = tuple(".!?…。！？｡")
CLOSING = "\"'”’»)]）」』】〉》"
"""May stand between the end of a sentence and what follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Text of one speaker, with the time at which it begins in the recording."""

    start: float
    text: str
    speaker: str | None = None


def paragraphs(segments: Iterable[Segment]) -> list[Paragraph]:
    """All text of ``segments``, in their order; those without text are left out."""
    groups: list[list[Segment]] = []
    for segment in segments:
        if not segment.text.strip():
            continue
        if groups and _goes_on(groups[-1], segment):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return [_paragraph(group) for group in groups]


def _goes_on(group: list[Segment], segment: Segment) -> bool:
    first, last = group[0], group[-1]
    if segment.speaker != last.speaker:
        return False
    length = finite(last.end) - finite(first.start)
    if length >= LONGEST_SECONDS:
        return False
    if not last.text.rstrip().rstrip(CLOSING).endswith(SENTENCE_ENDS):
        return True
    return length < LONG_SECONDS and finite(segment.start) - finite(last.end) < PAUSE_SECONDS


def _paragraph(group: list[Segment]) -> Paragraph:
    text = " ".join(join_text(group).split())
    return Paragraph(start=max(0.0, finite(group[0].start)), text=text, speaker=group[0].speaker)
