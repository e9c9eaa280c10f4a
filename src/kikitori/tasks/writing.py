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

    What it knows is written at most ``WRITE_EVERY_SECONDS`` later, also while nothing new comes. Everything it writes
    may be repeated: a transaction whose end nobody saw is done again.
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
        self._begun_at = task.checkpoint
        self._language: tuple[str, float] | None = None
        self._segments: list[Segment] = []
        """Not stored yet."""
        self._settled = 0
        """So many of them lie before ``_progress``."""
        self._progress: Progress | None = None
        self._written_at = clock()
        self._waits = asyncio.Event()
        """There is something to write that nobody has written at once."""
        self._writing = asyncio.Lock()
        self._failure: Exception | None = None
        self._timer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on what waits is written in time; ``close`` ends that."""
        self._timer = asyncio.create_task(self._write_in_time(), name=f"kikitori-writer-{self.task.id}")

    async def close(self) -> None:
        """Write what is left. Raises LostTask, CancelRequested, OutOfReach."""
        async with self._writing:  # the timer is in no transaction then
            if self._timer is not None:
                self._timer.cancel()
                await asyncio.gather(self._timer, return_exceptions=True)
            await self._write()
        if self._failure is not None:
            raise self._failure

    def heard(self, language: str, probability: float) -> None:
        """The language of the recording; written with the next progress."""
        self._language = language, probability

    def add(self, segment: Segment) -> None:
        self._segments.append(segment)

    async def progress(self, progress: Progress) -> None:
        """Note how far it is; write when it is time. Raises LostTask, CancelRequested, OutOfReach."""
        if self._failure is not None:
            raise self._failure
        self._progress, self._settled = progress, len(self._segments)
        if self._due_in() <= 0:
            async with self._writing:
                await self._write()
        else:
            self._waits.set()

    async def _write_in_time(self) -> None:
        """Many windows of a recording may end together, and then none for a while: none of them waits for the next."""
        while True:
            await self._waits.wait()
            await asyncio.sleep(max(0.0, self._due_in()))
            async with self._writing:
                try:
                    await self._write()
                except Exception as exc:  # whoever makes progress next is told
                    self._failure = exc
                    return

    def _due_in(self) -> float:
        return self._written_at + WRITE_EVERY_SECONDS - self._clock()

    async def _write(self) -> None:
        self._waits.clear()
        if self._progress is None:
            return
        progress, settled, language = self._progress, self._segments[: self._settled], self._language
        cancelled = await persistently(
            lambda: self._store.advance(
                self.task,
                segments=settled,
                seconds_done=progress.seconds_done,
                duration=progress.duration,
                checkpoint=self._checkpoint(progress.resume) if progress.resume else None,
                language=language,
            )
        )
        del self._segments[: len(settled)]
        self._settled -= len(settled)
        if self._progress is progress:  # else there was more meanwhile
            self._progress = None
        self._written_at = self._clock()
        if self._progress is not None:
            self._waits.set()
        self._on_write(self.task.id)
        if cancelled:
            raise CancelRequested

    def _checkpoint(self, point: ResumePoint) -> Checkpoint:
        further = self._begun_at is None or point.seconds > self._begun_at.seconds
        return Checkpoint(
            seconds=point.seconds,
            segments=point.segments,
            language=point.language,
            language_probability=point.language_probability,
            text=point.text,
            chunk_start=point.chunk_start,
            attempt=self.task.attempts if further or self._begun_at is None else self._begun_at.attempt,
            from_seconds=self._begun_at.from_seconds if self._begun_at else 0.0,
        )


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
        chunk_start=checkpoint.chunk_start,
    )
