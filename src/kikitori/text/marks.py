"""A transcript as people and language models read it: a line for each segment, marked with its time."""

from __future__ import annotations

from collections.abc import Iterable

from kikitori.text.durations import human_duration
from kikitori.types import Segment


def marked_lines(segments: Iterable[Segment]) -> list[str]:
    """``[1:02:03] left: What was said``; segments without text are left out."""
    return [
        f"[{human_duration(segment.start)}] {f'{segment.speaker}: ' if segment.speaker else ''}{text}"
        for segment in segments
        if (text := " ".join(segment.text.split()))
    ]
