"""The life of a task as a stream of events: ``status``, ``segment``, ``progress``.

Everything is read from the database, so that any node can tell it, and go on where another one stopped: the id of an
event says what its client knows by then. Pure but for ``follow``, which reads and waits.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kikitori.errors import InvalidOption
from kikitori.store.task_records import ACTIVE, TaskEvent, TaskRecord, TaskStatus
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.views import segment_json, task_json
from kikitori.types import Segment

POLL_SECONDS = 0.5
"""How soon a change on another node is seen; changes on this one wake at once."""
QUIET_SECONDS = 15.0
"""After so long without an event, connections are kept open by a sign of life."""
CHECK_SECONDS = 15.0
"""How often it is asked whether whoever watches still may."""
PAGE = 250
"""Segments read at once."""

_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,9})-([0-9]{1,12})")
_TOLD = frozenset({"status", "priority"})
"""Facts of a task's life that clients of the stream are told as its ``status``."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a client knows; written as the id of an event."""

    event: int = 0
    """The last fact of the task's life."""
    segments: int = 0
    """How many it has; also the id of the next one."""
    progress_ms: int = 0
    """Seconds done, as told last."""

    def __str__(self) -> str:
        return f"{self.event}-{self.segments}-{self.progress_ms}"


START = Position()


def read_position(text: str | None, name: str) -> Position:
    """The position that ``Last-Event-ID`` names; without one, the start. Raises InvalidOption."""
    if text is None or not text.strip():
        return START
    if not (found := _POSITION.fullmatch(text.strip())):
        raise InvalidOption(name, text, "the id of the last event that came")
    return Position(*map(int, found.groups()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event for a client."""

    event: str
    id: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the database says now, as far as a client does not know it."""

    task: TaskRecord
    queue_position: int | None
    facts: Sequence[TaskEvent]
    segments: Sequence[Segment]
    taken_back: bool = False
    """The client has segments that do not count any more."""
    more: bool = False
    """There are segments beyond these."""


def tell(seen: Seen, position: Position, *, changed: bool) -> tuple[list[Told], Position]:
    """The events that bring a client from ``position`` to what was seen, and where it is then.

    ``changed``: the client does not know the state of the task. The final status comes last, and only with it is the
    end behind the client: whoever leaves before hears it when coming back.
    """
    told: list[Told] = []
    before, end = _split(seen)
    position = _behind(position, before)
    if seen.task.status.is_final:
        if seen.taken_back:
            told.append(_status(replace(seen, task=_unfinished(seen.task)), position))
    elif changed:
        told.append(_status(seen, position))
    for segment in seen.segments:
        position = replace(position, segments=segment.id + 1)
        told.append(Told(event="segment", id=str(position), data=segment_json(segment)))
    if (done := round(seen.task.seconds_done * 1_000)) != position.progress_ms and not seen.more:
        position = replace(position, progress_ms=done)
        told.append(Told(event="progress", id=str(position), data=_progress(seen.task)))
    if seen.task.status.is_final and changed and not seen.more:
        position = _behind(position, end)
        told.append(_status(seen, position))
    return told, position


def rewound(facts: Sequence[TaskEvent], position: Position) -> Position:
    """Where a client must go back to: an attempt that begins anew takes back what was not kept."""
    for fact in facts:
        kept = fact.data.get("segments")
        if fact.type == "status" and isinstance(kept, int) and kept < position.segments:
            position = replace(position, segments=kept)
    return position


def _split(seen: Seen) -> tuple[Sequence[TaskEvent], Sequence[TaskEvent]]:
    """The facts before the end of the task, and those from there on."""
    statuses = [at for at, fact in enumerate(seen.facts) if fact.type == "status"]
    at = statuses[-1] if statuses and seen.task.status.is_final else len(seen.facts)
    return seen.facts[:at], seen.facts[at:]


def _behind(position: Position, facts: Sequence[TaskEvent]) -> Position:
    return replace(position, event=max([position.event, *(fact.id for fact in facts)]))


def _unfinished(task: TaskRecord) -> TaskRecord:
    """As it was before it ended."""
    return replace(task, status=TaskStatus.RUNNING, finished_at=None, error=None)


async def follow(
    tasks: TaskDesk,
    task_id: str,
    owner: str | None,
    position: Position,
    *,
    stopping: Callable[[], bool] = lambda: False,
    check: Callable[[], Awaitable[object]] | None = None,
    poll_seconds: float = POLL_SECONDS,
    quiet_seconds: float = QUIET_SECONDS,
    check_seconds: float = CHECK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Told | None, None]:
    """Events after ``position`` until the final status, or until the server is ``stopping``; None is a sign of life.

    Raises NotFound when the task is removed, and what ``check`` raises, which is called now and then.
    """
    spoke, known, owed = clock(), None, position == START
    checked = spoke
    while not stopping():
        if check is not None and clock() - checked >= check_seconds:
            await check()
            checked = clock()
        seen, position = await _look(tasks, task_id, owner, position)
        owed = owed or _has_news(seen) or known not in (None, _state(seen.task))
        told, position = tell(seen, position, changed=owed)
        for event in told:
            yield event
        known, owed = _state(seen.task), owed and _waits_for_segments(seen)
        if seen.more:
            continue
        if seen.task.status.is_final:
            return
        if told:
            spoke = clock()
        elif clock() - spoke >= quiet_seconds:
            spoke = clock()
            yield None
        await tasks.wait_for_change(task_id, poll_seconds)


async def has_ended(tasks: TaskDesk, task_id: str, owner: str | None, position: Position) -> bool:
    """A client at ``position`` knows the end already. Raises NotFound."""
    seen, position = await _look(tasks, task_id, owner, position)
    told, _ = tell(seen, position, changed=position == START or _has_news(seen))
    return seen.task.status.is_final and not told


def _has_news(seen: Seen) -> bool:
    return any(fact.type in _TOLD for fact in seen.facts)


def _waits_for_segments(seen: Seen) -> bool:
    """The final status comes after all of them."""
    return seen.task.status.is_final and seen.more


def _state(task: TaskRecord) -> tuple[object, ...]:
    return task.status, task.priority, task.attempts, task.cancel_requested


def _status(seen: Seen, position: Position) -> Told:
    shown = task_json(seen.task, queue_position=seen.queue_position)
    return Told(event="status", id=str(position), data={**shown, "segments": position.segments})


async def _look(tasks: TaskDesk, task_id: str, owner: str | None, position: Position) -> tuple[Seen, Position]:
    # The task first: when it has ended, whatever belongs to it was written before.
    task = await tasks.get(task_id, owner)
    facts = await tasks.events(task_id, after=position.event)
    known, position = position, rewound(facts, position)
    segments: Sequence[Segment] = ()
    if task.status.is_final or task.status in ACTIVE or task.seconds_done:
        segments = await tasks.segments(task_id, after=position.segments, limit=PAGE)
    waits = await tasks.queue_positions([task_id]) if facts or position == START else {}
    return (
        Seen(
            task=task,
            queue_position=waits.get(task_id),
            facts=facts,
            segments=segments,
            taken_back=position.segments < known.segments,
            more=len(segments) >= PAGE,
        ),
        position,
    )


def _progress(task: TaskRecord) -> dict[str, Any]:
    shown = task_json(task)
    return {name: shown[name] for name in ("progress", "seconds_done", "duration", "speed", "eta_seconds")}
