"""What callers may do with tasks: the API and the commands stand in front of this desk.

``owner`` is whose tasks the caller sees; None sees all. Another owner's task does not exist.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from kikitori.errors import Conflict, NotFound
from kikitori.media.store import MediaStore
from kikitori.store.task_queries import TaskPage, TaskQuery
from kikitori.store.task_records import NewTask, TaskEvent, TaskPriority, TaskRecord, TaskResult
from kikitori.store.tasks import TaskStore
from kikitori.tasks.changes import Changes
from kikitori.tasks.gathering import Gatherer
from kikitori.text.correcting import corrected, same_text
from kikitori.types import Segment

logger = logging.getLogger(__name__)

Records: TypeAlias = list[TaskRecord]
Places: TypeAlias = list[int | None]

LET_GO_SECONDS = 15.0
"""How long a deletion waits for the node that works on the task."""
LOOK_AGAIN_SECONDS = 0.5
CORRECTION_TRIES = 5
"""While others correct the same segment."""


class TaskDesk:
    """Tasks of this database, wherever they run. One event loop only."""

    def __init__(
        self,
        store: TaskStore,
        media: MediaStore,
        *,
        max_queued: int = 0,
        changes: Changes | None = None,
        on_new: Callable[[], None] = lambda: None,
        on_cancel: Callable[[str], None] = lambda task_id: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_new`` wakes who starts tasks here, ``on_cancel`` who runs them, ``on_end`` who sends callbacks."""
        self.store, self.media = store, media
        self.changes = changes or Changes()
        self._max_queued = max_queued
        self._on_new, self._on_cancel, self._on_end = on_new, on_cancel, on_end
        self._create: Gatherer[NewTask, TaskRecord] = Gatherer(self._create_all)
        self._find_positions: Gatherer[str, int | None] = Gatherer(self._positions_of)

    async def submit(self, tasks: Sequence[NewTask]) -> list[TaskRecord]:
        """Put ``tasks`` in the queue; they are durable when this returns. Raises Busy, Conflict, Unavailable.

        A task whose idempotency key was used before is the task of then, and its id differs.
        """
        created = await self._create(tasks)
        self._on_new()
        return created

    async def get(self, task_id: str, owner: str | None) -> TaskRecord:
        return await self.store.get(task_id, owner)

    async def list(self, query: TaskQuery) -> TaskPage:
        return await self.store.list(query)

    async def result(self, task_id: str, owner: str | None) -> TaskResult:
        return await self.store.result(task_id, owner)

    async def segments(self, task_id: str, *, after: int = 0, limit: int = 1_000) -> Sequence[Segment]:
        return await self.store.segments(task_id, after=after, limit=limit)

    async def events(self, task_id: str, *, after: int = 0) -> Sequence[TaskEvent]:
        return await self.store.events(task_id, after=after)

    async def queue_positions(self, task_ids: Sequence[str]) -> dict[str, int]:
        """1 is next; only of tasks that wait. One look at the queue, which may be long, serves all who ask now."""
        places = await self._find_positions(task_ids) if task_ids else []
        return {id: place for id, place in zip(task_ids, places, strict=True) if place is not None}

    async def wait_for_change(self, task_id: str, seconds: float = LOOK_AGAIN_SECONDS) -> None:
        """Until something may have changed: at once when it happened in this process."""
        await self.changes.wait(task_id, seconds)

    async def cancel(self, task_id: str, owner: str | None) -> TaskRecord:
        """A queued task ends now, a running one within a segment. Raises NotFound, Conflict when it has ended."""
        task = await self.store.request_cancel(task_id, owner)
        self._on_cancel(task_id)
        if task.status.is_final:
            self._on_end()
        self.changes.tell(task_id)
        return task

    async def retry(self, task_id: str, owner: str | None) -> TaskRecord:
        """Begin again from nothing.

        Raises NotFound; Conflict when it has not failed, or its media is gone; Busy when the queue is full.
        """
        task = await self.store.retry(task_id, owner, max_queued=self._max_queued)
        self._on_new()
        self.changes.tell(task_id)
        return task

    async def set_priority(self, task_id: str, owner: str | None, priority: TaskPriority) -> TaskRecord:
        task = await self.store.set_priority(task_id, owner, priority)
        self.changes.tell(task_id)
        return task

    async def correct(
        self, task_id: str, owner: str | None, segment_id: int, text: str, *, expected: str | None = None
    ) -> Segment:
        """Give a segment of an ended task another text; it is returned as it is then.

        ``expected``: what whoever corrects it saw; without it the last one wins. Raises NotFound, Conflict.
        """
        task = await self.store.get(task_id, owner)
        for _ in range(CORRECTION_TRIES):
            segment = await self._segment(task.id, segment_id)
            if expected is not None and not same_text(expected, segment.text):
                break
            new = await asyncio.to_thread(corrected, segment, text)
            if await self.store.replace_segment(task.id, owner, new, was=segment.text):
                logger.info("text corrected", extra={"action": "text_corrected", "task": task.id})
                self.changes.tell(task.id)
                return new
        raise Conflict(
            "Somebody else has changed this segment in the meantime.", remedy="Read it again, then correct it."
        )

    async def _segment(self, task_id: str, segment_id: int) -> Segment:
        found = await self.store.segments(task_id, after=segment_id, limit=1)
        if not found or found[0].id != segment_id:
            raise NotFound(f"The task has no segment {segment_id}.", remedy="GET /api/tasks/{id}/result lists them.")
        return found[0]

    async def delete(self, task_id: str, owner: str | None) -> None:
        """Cancel, then remove every trace: rows and recording.

        Raises NotFound; Conflict when the node that works on it does not let go in time.
        """
        task = await self.store.get(task_id, owner)
        if not task.status.is_final:
            task = await self._stopped(task)
        # The recording of the row as it was last: it may have come in since.
        task = await self.store.delete(task_id, owner)
        if task.media_key:
            await self.media.delete(task.media_key)
        self.changes.tell(task_id)

    async def _stopped(self, task: TaskRecord) -> TaskRecord:
        try:
            task = await self.cancel(task.id, None)
        except Conflict:  # it ended by itself
            return await self.store.get(task.id, None)
        try:
            async with asyncio.timeout(LET_GO_SECONDS):
                while not task.status.is_final:
                    await self.changes.wait(task.id, LOOK_AGAIN_SECONDS)
                    task = await self.store.get(task.id, None)
        except TimeoutError:
            raise Conflict(
                f"The task {task.id} is still being stopped.", remedy="Try again in a few seconds."
            ) from None
        return task

    async def _create_all(self, tasks: Sequence[NewTask]) -> Records:
        return await self.store.create(tasks, max_queued=self._max_queued)

    async def _positions_of(self, task_ids: Sequence[str]) -> Places:
        places = await self.store.queue_positions(list(dict.fromkeys(task_ids)))
        return [places.get(id) for id in task_ids]
