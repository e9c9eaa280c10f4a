"""What a running task writes, in few transactions, and through short outages of the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kikitori.errors import Unavailable
from kikitori.pipeline.events import Progress, ResumePoint
from kikitori.store.task_records import Checkpoint, TaskRecord
from kikitori.store.tasks import TaskStore
from kikitori.types import Segment

logger = logging.getLogger(__name__)

T = TypeVar("T")

WRITE_EVERY_SECONDS = 0.5
OUTAGE_SECONDS = 600.0
"""A database that is away longer than this ends the attempt; the task stays where it is, and is taken up again."""
RETRY_SECONDS = (0.2, 5.0)


class CancelRequested(Exception):
    """The owner wants the task to end."""


class OutOfReach(Exception):
    """The database was away for too long: nothing can be said about the task, not even that it failed."""


class TaskWriter:
    """Gathers the segments of one attempt and writes them with the point they can be resumed from.

    Everything it writes may be repeated: a transaction whose end nobody saw is done again.
    """

    def __init__(
        self,
        store: TaskStore,
        task: TaskRecord,
        *,
        on_write: Callable[[str], None] = lambda task_id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._on_write, self._clock = store, on_write, clock
        self.task = task
        self._segments: list[Segment] = []
        """Not stored yet."""
        self._settled = 0
        """So many of them lie before ``_progress``."""
        self._progress: Progress | None = None
        self._written_at = clock()

    def add(self, segment: Segment) -> None:
        self._segments.append(segment)

    async def progress(self, progress: Progress) -> None:
        """Note how far it is; write when it is time. Raises LostTask, CancelRequested."""
        self._progress, self._settled = progress, len(self._segments)
        if self._clock() - self._written_at >= WRITE_EVERY_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Write what there is. Raises LostTask, CancelRequested."""
        if self._progress is None:
            return
        progress, settled = self._progress, self._segments[: self._settled]
        cancelled = await persistently(
            lambda: self._store.advance(
                self.task,
                segments=settled,
                seconds_done=progress.seconds_done,
                duration=progress.duration,
                checkpoint=_checkpoint(progress.resume) if progress.resume else None,
            )
        )
        del self._segments[: len(settled)]
        self._settled, self._progress, self._written_at = 0, None, self._clock()
        self._on_write(self.task.id)
        if cancelled:
            raise CancelRequested


async def persistently(write: Callable[[], Awaitable[T]]) -> T:
    """``write``, again and again while the database is away. Raises OutOfReach after ``OUTAGE_SECONDS``."""
    pause, longest = RETRY_SECONDS
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return await write()
        except Unavailable as exc:
            if time.monotonic() >= deadline:
                raise OutOfReach(str(exc)) from exc
            logger.warning("write repeated", extra={"action": "write_repeated", "reason": str(exc)})
        await asyncio.sleep(pause)
        pause = min(longest, pause * 2)


def resume_point(checkpoint: Checkpoint | None) -> ResumePoint | None:
    if checkpoint is None:
        return None
    return ResumePoint(
        seconds=checkpoint.seconds,
        segments=checkpoint.segments,
        language=checkpoint.language,
        language_probability=checkpoint.language_probability,
        text=checkpoint.text,
    )


def _checkpoint(point: ResumePoint) -> Checkpoint:
    return Checkpoint(
        seconds=point.seconds,
        segments=point.segments,
        language=point.language,
        language_probability=point.language_probability,
        text=point.text,
    )
