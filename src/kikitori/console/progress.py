"""What is known of one run of ``/ws``: a fact for the page, and how each message changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from kikitori.console.lines import Line, full_text, line_from, rewritten
from kikitori.text.durations import finite

WHOLE = 100
SPEED_AFTER_SECONDS = 0.5
"""Less work than this says nothing about the speed."""


class Stage(StrEnum):
    WAITING = "waiting"  # for its turn in this browser
    SENDING = "sending"  # the file is on its way
    QUEUED = "queued"  # the server hears others first
    RUNNING = "running"  # text is coming
    LOST = "lost"  # nobody answers; tried again
    DONE = "done"
    STOPPED = "stopped"  # by somebody
    MOVED = "moved"  # nobody looked any more: it goes on as a task
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (Stage.DONE, Stage.STOPPED, Stage.MOVED, Stage.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One run so far. ``since`` and ``now`` are a clock's seconds."""

    stage: Stage = Stage.WAITING
    lines: tuple[Line, ...] = ()
    former: tuple[Line, ...] = ()
    """Lines of an attempt that broke off: shown where the new one has not come yet."""
    percent: int = 0
    position: int = 0
    """In the server's queue; 1 is next."""
    sent: float = 0.0
    """Share of the file that was sent, 0 to 1."""
    duration: float = 0.0
    """Seconds of the recording; 0: not known."""
    language: str = ""
    model: str = ""
    problem: str = ""
    """What went wrong, or why it is tried again."""
    task_id: str = ""
    """The task that keeps the recording."""
    warning: str = ""
    since: float = 0.0
    """When the server had the file, and nobody before it."""
    heard: float = 0.0
    """When the last line came: lines come in bursts, and between them nothing can be said of the speed."""
    now: float = 0.0
    attempts: int = 0

    @property
    def shown(self) -> tuple[Line, ...]:
        """The lines to read, numbered from 0."""
        reached = self.lines[-1].end if self.lines else 0.0
        rest = tuple(line for line in self.former if line.start >= reached)
        return tuple(replace(line, id=number) for number, line in enumerate((*self.lines, *rest)))

    @property
    def text(self) -> str:
        return full_text(self.shown)

    @property
    def is_taken(self) -> bool:
        """The server has the whole recording, and has said so."""
        return self.stage is Stage.QUEUED or (self.stage is Stage.RUNNING and bool(self.model))

    @property
    def seconds_done(self) -> float:
        return self.lines[-1].end if self.lines else 0.0

    @property
    def speed(self) -> float:
        """Seconds of audio in a second; 0: not known yet."""
        spent = self.heard - self.since
        return self.seconds_done / spent if self.since and spent > SPEED_AFTER_SECONDS else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """How long it will take; None: not known."""
        if self.stage is not Stage.RUNNING or not self.speed or not self.duration:
            return None
        return max(0.0, (self.duration - self.seconds_done) / self.speed - (self.now - self.heard))


def begun(known: Progress, now: float) -> Progress:
    """Another attempt: the file is sent, from its beginning."""
    former = known.shown
    return Progress(stage=Stage.SENDING, former=former, attempts=known.attempts + 1, now=now)


def sent(known: Progress, share: float, now: float) -> Progress:
    stage = Stage.RUNNING if share >= 1 else Stage.SENDING
    return replace(known, stage=stage, sent=share, since=now, now=now)


def lost(known: Progress, problem: str, now: float) -> Progress:
    return replace(known, stage=Stage.LOST, problem=problem, now=now)


def ended(known: Progress, stage: Stage, now: float, problem: str = "") -> Progress:
    """The end. What was heard stays; of a run that is done, nothing of a former attempt does."""
    former = () if stage is Stage.DONE else known.former
    return replace(known, stage=stage, former=former, problem=problem, now=now)


def edited(known: Progress, number: int, text: str) -> Progress:
    """Another text in the line ``number`` of ``shown``, which then is all there is."""
    return replace(known, lines=rewritten(known.shown, number, text), former=())


def heard(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    """A message of the server. Types that are not known change nothing."""
    change = MESSAGES.get(str(message.get("type")))
    return replace(change(known, message, now), now=now) if change else known


def _queued(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    return replace(known, stage=Stage.QUEUED, position=int(message.get("position") or 0), sent=1.0, since=now)


def _info(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    return replace(
        known,
        stage=Stage.RUNNING,
        sent=1.0,
        duration=_seconds(message.get("duration")),
        language=str(message.get("language") or ""),
        model=str(message.get("model") or ""),
    )


def _segment(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    line = line_from(len(known.lines), message.get("data") or {})
    percent = max(known.percent, min(WHOLE, int(message.get("progress") or 0)))
    return replace(known, lines=(*known.lines, line), percent=percent, heard=now)


def _final(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    done = replace(
        known,
        percent=WHOLE,
        duration=_seconds(message.get("duration")) or known.duration,
        language=str(message.get("language") or known.language),
        task_id=str(message.get("task_id") or ""),
        warning=str(message.get("warning") or ""),
    )
    return ended(done, Stage.DONE, now)


def _stopped(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    kept = replace(known, task_id=str(message.get("task_id") or ""), warning=str(message.get("warning") or ""))
    return ended(kept, Stage.STOPPED, now)


def _error(known: Progress, message: Mapping[str, Any], now: float) -> Progress:
    if not message.get("done", True):
        return known
    kept = replace(known, task_id=str(message.get("task_id") or ""))
    return ended(kept, Stage.FAILED, now, str(message.get("message") or ""))


MESSAGES: Mapping[str, Callable[[Progress, Mapping[str, Any], float], Progress]] = {
    "queued": _queued,
    "info": _info,
    "segment": _segment,
    "final": _final,
    "stopped": _stopped,
    "error": _error,
}


def _seconds(value: Any) -> float:
    return finite(float(value)) if isinstance(value, int | float) else 0.0
