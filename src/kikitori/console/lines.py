"""A transcript as people read it: lines with their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kikitori.text.durations import convert_seconds, human_duration
from kikitori.types import Segment, Task, Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A segment, as far as it is read, heard and edited. Times are seconds in the recording."""

    id: int
    start: float
    end: float
    text: str
    """With the space that separates it from the line before."""
    speaker: str = ""
    edited: bool = False


def line_from(number: int, segment: Mapping[str, Any]) -> Line:
    """A segment of a result or of ``/ws``; ``number`` is its id where it has none."""
    return Line(
        id=int(segment.get("id", number)),
        start=float(segment.get("start") or 0.0),
        end=float(segment.get("end") or 0.0),
        text=str(segment.get("text") or ""),
        speaker=str(segment.get("speaker") or ""),
        edited=bool(segment.get("edited")),
    )


def lines_from(result: Mapping[str, Any]) -> tuple[Line, ...]:
    """The lines of a result, as ``GET /api/tasks/{id}/result`` gives it."""
    return tuple(line_from(number, segment) for number, segment in enumerate(result.get("segments") or ()))


def rewritten(lines: Iterable[Line], number: int, text: str) -> tuple[Line, ...]:
    """``lines`` with another text in the line ``number``. It keeps its space at the front, so that texts still join."""
    return tuple(_rewritten(line, text) if line.id == number else line for line in lines)


def _rewritten(line: Line, text: str) -> Line:
    space = line.text[: len(line.text) - len(line.text.lstrip())]
    return replace(line, text=f"{space}{' '.join(text.split())}", edited=True)


def full_text(lines: Iterable[Line]) -> str:
    return "".join(line.text for line in lines).strip()


def time_label(start: float, end: float, language: str) -> str:
    """``[0分0秒 -> 0分4秒]``, as the reader of ``language`` writes it: ``[0분0초 -> 0분4초]``, ``[0:00 -> 0:04]``."""
    write = CLOCKS.get(language, _clock)
    return f"[{write(start)} -> {write(end)}]"


def _clock(seconds: float) -> str:
    return human_duration(int(seconds))


def _korean(seconds: float) -> str:
    return convert_seconds(seconds).translate({ord("分"): "분", ord("秒"): "초"})


CLOCKS: Mapping[str, Callable[[float], str]] = {"ja": convert_seconds, "zh": convert_seconds, "ko": _korean}


def transcript_of(
    lines: Sequence[Line], *, language: str = "", duration: float = 0.0, model: str = "", task: str = Task.TRANSCRIBE
) -> Transcript:
    """For the writers of ``kikitori.text``."""
    segments = tuple(
        Segment(id=line.id, start=line.start, end=line.end, text=line.text, speaker=line.speaker or None)
        for line in lines
    )
    return Transcript(segments=segments, language=language, duration=duration, model=model, task=Task(task))
