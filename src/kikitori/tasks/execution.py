"""One attempt at one task: fetch → transcribe → end. Whatever interrupts it, it can be taken up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from kikitori.errors import Busy, KikitoriError, LinkFailed, Unavailable
from kikitori.logs import log_ids
from kikitori.media import disk
from kikitori.media.fetch import Fetcher
from kikitori.media.sites import Fetched, Playlist
from kikitori.media.store import MediaStore
from kikitori.options import DecodeOptions, parse_options
from kikitori.pipeline.events import Begun, Progress, ResumePoint, SegmentDone, Started, TranscriptionEvent
from kikitori.store.task_records import NewTask, TaskError, TaskPriority, TaskRecord, TaskStatus, new_id
from kikitori.store.tasks import LostTask, TaskStore
from kikitori.tasks.changes import Changes
from kikitori.tasks.failures import failure
from kikitori.tasks.writing import CancelRequested, OutOfReach, TaskWriter, persistently, resume_point
from kikitori.types import Media, Priority

logger = logging.getLogger(__name__)

PRIORITIES = {
    TaskPriority.HIGH: Priority.HIGH,
    TaskPriority.NORMAL: Priority.NORMAL,
    TaskPriority.LOW: Priority.LOW,
}

LAST_WRITE_SECONDS = 5.0
OUTAGE_PAUSES = (5.0, 15.0, 60.0, 300.0, 600.0)
"""Seconds between attempts while the disk is full or the media store is away; after the last one, the task fails."""

T = TypeVar("T")


class Transcriber(Protocol):
    """``pipeline.transcriber.Transcriber``."""

    def stream(
        self,
        media: Media,
        options: DecodeOptions,
        *,
        model: str = "",
        priority: Priority = Priority.NORMAL,
        resume: ResumePoint | None = None,
    ) -> AsyncGenerator[TranscriptionEvent, None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What every attempt on this node shares."""

    store: TaskStore
    media: MediaStore
    fetcher: Fetcher
    transcriber: Transcriber
    changes: Changes
    folder: Path
    """For what is fetched, until the media store has it."""
    places: asyncio.Semaphore
    """Tasks that decode at once."""
    max_queued: int = 0
    """More tasks than this may not wait, whoever makes them; 0: any number."""
    on_end: Callable[[], None] = lambda: None
    """Told when a task has ended: there may be a callback to send."""


class Execution:
    """Runs one attempt. ``cancel`` ends the task; ``give_back``, or cancelling ``run``, puts it back in the queue."""

    def __init__(
        self, workplace: Workplace, task: TaskRecord, *, on_fetched: Callable[[], None] = lambda: None
    ) -> None:
        self._at, self.task, self._on_fetched = workplace, task, on_fetched
        self._cancelled = self._given_back = False
        self._work: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """The owner wants the task to end: within one segment it has."""
        self._cancelled = True
        if self._work is not None:
            self._work.cancel()

    def give_back(self) -> None:
        """This node will not end it: another attempt goes on from what is stored."""
        self._given_back = True
        if self._work is not None:
            self._work.cancel()

    async def run(self) -> None:
        """Returns when the attempt is over, however it ended; nothing is raised but a cancellation."""
        with log_ids(task=self.task.id):
            self._work = asyncio.create_task(self._attempt(), name=f"kikitori-{self.task.id}")
            if self._cancelled or self._given_back:
                self._work.cancel()
            try:
                await asyncio.wait([self._work])
            except asyncio.CancelledError:
                self._work.cancel()
                await _settled(self._work)
                await _settled(asyncio.create_task(self._release()))
                raise
            await self._conclude(self._work)
            self._at.changes.tell(self.task.id)

    async def _conclude(self, work: asyncio.Task[None]) -> None:
        """Store how the attempt ended. Its last write is not given up half way."""
        ending: Coroutine[Any, Any, None] | None = None
        if work.cancelled() and self._given_back and not self._cancelled:
            ending = self._release()
        elif work.cancelled() or isinstance(work.exception(), CancelRequested):
            ending = self._end(TaskStatus.CANCELLED)
        elif exc := work.exception():
            ending = self._failed(exc)
        if ending is not None:
            await _settled(asyncio.create_task(ending))

    async def _attempt(self) -> None:
        if self.task.cancel_requested:
            raise CancelRequested
        if self.task.media_key is None and not await self._fetch():
            return
        self._on_fetched()
        async with self._at.places:
            await self._transcribe()
        await self._end(TaskStatus.SUCCEEDED)

    # Fetching

    async def _fetch(self) -> bool:
        """Bring the media of a link into the store. False: it was a list, whose entries are tasks of their own now."""
        assert self.task.url is not None
        url = self.task.url
        found = await _through_outages(lambda: self._at.fetcher.fetch(url, self._at.folder))
        if isinstance(found, Playlist):
            await self._expand(found)
            return False
        try:
            await self._keep(found)
        finally:
            await anyio.to_thread.run_sync(disk.remove, found.path)
        return True

    async def _keep(self, found: Fetched) -> None:
        key = await _through_outages(
            lambda: self._at.media.save(found.path, task_id=self.task.id, suffix=found.path.suffix)
        )
        try:
            await self._write(
                lambda: self._at.store.fetched(
                    self.task,
                    media_key=key,
                    media_bytes=found.size_bytes,
                    file_name=found.file_name,
                    details=found.details,
                )
            )
        except LostTask:
            await self._at.media.delete(key)
            raise

    async def _expand(self, playlist: Playlist) -> None:
        if self.task.parent is not None:
            above = await self._at.store.get(self.task.parent, None)
            if above.parent is not None:
                raise LinkFailed("This list is an entry of a list that is an entry of a list.")
        children = [
            replace(_as_new(self.task), id=new_id("task"), url=entry.url, file_name=entry.title, parent=self.task.id)
            for entry in playlist.entries
        ]
        details = {**playlist.details, "tasks": [child.id for child in children]}
        await persistently(
            lambda: self._at.store.expand(self.task, children, details=details, max_queued=self._at.max_queued)
        )
        self._at.on_end()

    # Transcribing

    async def _transcribe(self) -> None:
        key = self.task.media_key
        assert key is not None
        options = parse_options({**self.task.options, "task": self.task.task_type.value})
        async with AsyncExitStack() as held:
            path = await _through_outages(lambda: held.enter_async_context(self._at.media.local(key)))
            await persistently(lambda: self._at.store.rewind(self.task))
            if self.task.checkpoint:
                self.task = replace(self.task, checkpoint=self.task.checkpoint.taken_up())
            while True:
                try:
                    await self._decode(path, options)
                except Busy as busy:  # many requests beside us; what is done so far stays done
                    await asyncio.sleep(busy.retry_after)
                    self.task = await self._as_stored()
                else:
                    return

    async def _as_stored(self) -> TaskRecord:
        """Our task as it is now. Raises LostTask when it is somebody else's: what is written is written in its name."""
        stored = await persistently(lambda: self._at.store.get(self.task.id, None))
        if (stored.node, stored.attempts) != (self.task.node, self.task.attempts):
            raise LostTask(self.task.id)
        return stored

    async def _decode(self, path: Path, options: DecodeOptions) -> None:
        writer = TaskWriter(self._at.store, self.task, on_write=self._at.changes.tell)
        decoding = self._at.transcriber.stream(
            path,
            options,
            model=self.task.model if self.task.checkpoint else self.task.asked_model,  # one text, one model
            priority=PRIORITIES[self.task.priority],
            resume=resume_point(self.task.checkpoint),
        )
        writer.start()
        try:
            async with aclosing(decoding) as events:
                async for event in events:
                    await self._note(event, writer)
        except BaseException:  # also a cancellation: what was heard until then is kept
            await _settled(asyncio.create_task(_closed(writer)))
            raise
        await writer.close()

    async def _note(self, event: TranscriptionEvent, writer: TaskWriter) -> None:
        match event:
            case Begun():
                await self._write(
                    lambda: self._at.store.started(
                        self.task,
                        duration=event.duration,
                        model=event.model,
                        engine=event.engine,
                        mode=event.mode.value,
                    )
                )
                writer.task = self.task
            case Started():
                writer.heard(event.language, event.language_probability)
            case SegmentDone():
                writer.add(event.segment)
            case Progress():
                await writer.progress(event)

    # Ending

    async def _write(self, write: Callable[[], Awaitable[TaskRecord]]) -> None:
        self.task = await persistently(write)
        self._at.changes.tell(self.task.id)

    async def _end(self, status: TaskStatus, error: TaskError | None = None) -> None:
        try:
            self.task = await persistently(lambda: self._at.store.finish(self.task, status, error=error))
        except LostTask:
            logger.info("task lost", extra={"action": "task_lost"})
            return
        self._at.on_end()
        code = error.code if error else ""
        logger.info("task ended", extra={"action": "task_ended", "status": status.value, "code": code})

    async def _failed(self, exc: BaseException) -> None:
        if isinstance(exc, LostTask):
            logger.info("task lost", extra={"action": "task_lost"})
        elif isinstance(exc, OutOfReach):  # it goes back in the queue when the database is there again
            logger.warning("task out of reach", extra={"action": "task_out_of_reach", "reason": str(exc)})
        elif isinstance(exc, KikitoriError):
            await self._end(TaskStatus.FAILED, failure(exc))
        else:
            logger.error("task broke", exc_info=exc, extra={"action": "task_broke"})
            error = TaskError(
                code="internal_error", message="The server failed on this task.", remedy="Its log says why."
            )
            await self._end(TaskStatus.FAILED, error)

    async def _release(self) -> None:
        try:
            await self._at.store.release(self.task)
        except (LostTask, KikitoriError) as exc:  # it is taken up when this node's heartbeat has stopped
            logger.info("task not released", extra={"action": "task_not_released", "reason": str(exc)})


def _as_new(task: TaskRecord) -> NewTask:
    """What was asked for, less what belongs to one task alone."""
    return NewTask(
        id=task.id,
        owner=task.owner,
        priority=task.priority,
        task_type=task.task_type,
        model=task.asked_model,
        options=task.options,
        formats=task.formats,
        tags=task.tags,
        platform=task.platform,
        callback_url=task.callback_url,
        expires_at=task.expires_at,
    )


async def _through_outages(work: Callable[[], Awaitable[T]]) -> T:
    """``work``, again after a while when the disk is full or the media store is away. Raises Unavailable in the end."""
    for pause in OUTAGE_PAUSES:
        try:
            return await work()
        except Unavailable as exc:
            logger.warning("task waits", extra={"action": "task_waits", "reason": str(exc), "seconds": pause})
        await asyncio.sleep(pause)
    return await work()


async def _closed(writer: TaskWriter) -> None:
    with suppress(LostTask, CancelRequested, OutOfReach, KikitoriError):  # whoever comes next meets it again
        await writer.close()


async def _settled(task: asyncio.Task[None]) -> None:
    """Wait for ``task``, also when the waiting one is cancelled, which is raised afterwards.

    From then on it has ``LAST_WRITE_SECONDS``: a database that is away must not hold up the end of the process.
    """
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task], timeout=LAST_WRITE_SECONDS if cancelled else None)
        except asyncio.CancelledError:
            cancelled = True
        else:
            task.cancel()
    if not task.cancelled() and (exc := task.exception()):
        logger.warning("task write failed", extra={"action": "task_write_failed", "reason": str(exc)})
    if cancelled:
        raise asyncio.CancelledError
