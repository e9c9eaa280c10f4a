"""What callers ask for: new tasks, and changes of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update

from kikitori.errors import Conflict
from kikitori.store import task_queue
from kikitori.store.database import retried
from kikitori.store.tables import segments as segments_table
from kikitori.store.tables import tasks
from kikitori.store.task_creation import create_tasks
from kikitori.store.task_part import TaskPart
from kikitori.store.task_records import ACTIVE, FINAL, NewTask, TaskPriority, TaskRecord, TaskStatus
from kikitori.store.task_rows import (
    PRIORITIES,
    PRIORITY_NUMBERS,
    asked_model,
    check_task,
    record_of,
    segment_row,
    storable,
)
from kikitori.store.task_steps import (
    add_event,
    add_status,
    change,
    current_record,
    end,
    forget_work,
    is_id,
    is_in,
    locked_row,
    store_text_again,
)
from kikitori.types import Segment

QUEUED = TaskStatus.QUEUED
_FRESH: dict[str, Any] = {
    "status": QUEUED.value,
    "attempts": 0,
    "node": None,
    "cancel_requested": False,
    "started_at": None,
    "finished_at": None,
    "duration": None,
    "seconds_done": 0.0,
    "language": "",
    "language_probability": 0.0,
    "engine": "",
    "mode": "",
    "error": None,
    "checkpoint": None,
}
"""A task before anybody began it."""


class TaskRequests(TaskPart):
    """Changes that callers ask for."""

    @retried
    async def create(self, tasks: Sequence[NewTask], *, max_queued: int = 0) -> list[TaskRecord]:
        """All or none. A task whose owner used its idempotency key before is the task of that time.

        Raises InvalidOption; Conflict when that one asks for something else; Busy when more than ``max_queued`` would
        wait (0: any number may).
        """
        for task in tasks:
            check_task(task)
        async with self._database.write() as connection:
            return await create_tasks(connection, tasks, self._now(), max_queued=max_queued)

    @retried
    async def request_cancel(self, id: str, owner: str | None) -> TaskRecord:
        """A queued task ends at once; one that a node works on is asked to. Raises NotFound; Conflict when it ended."""
        async with self._database.write() as connection:
            row = await locked_row(connection, id, owner)
            status = TaskStatus(row.status)
            if status.is_final:
                raise Conflict(
                    f"The task is {status.value}.", remedy="Only a task that has not ended can be cancelled."
                )
            if status is QUEUED:
                from_here = [is_id(id), is_in([QUEUED])]
                ended = await end(connection, from_here, id, TaskStatus.CANCELLED, now=self._now())
                assert ended is not None, "the row is locked"
                return ended
            if not row.cancel_requested:
                await change(connection, [is_id(id), is_in(ACTIVE)], {"cancel_requested": True})
                await add_status(connection, row, self._now(), cancel_requested=True)
            return await current_record(connection, id)

    @retried
    async def retry(self, id: str, owner: str | None, *, max_queued: int = 0) -> TaskRecord:
        """Start a failed, cancelled or expired task again, from nothing. Raises NotFound, Conflict, Busy."""
        may = FINAL - {TaskStatus.SUCCEEDED}
        async with self._database.write() as connection:
            row = await locked_row(connection, id, owner)
            if TaskStatus(row.status) not in may:
                raise Conflict(
                    f"The task is {row.status}.", remedy="Only a failed, cancelled or expired one can be begun again."
                )
            if row.url is None and row.media_key is None:
                raise Conflict("The recording of this task was removed.", remedy="Send it again as a new task.")
            await task_queue.check_room(connection, 1, max_queued)
            now = self._now()
            [rank] = await task_queue.ranks(connection, [(row.owner, PRIORITIES[row.priority])])
            values = _FRESH | {"rank": rank, "queued_at": now, "model": asked_model(row)}
            if row.expires_at is not None and row.expires_at <= now:
                values |= {"expires_at": None}
            await change(connection, [is_id(id), is_in(may)], values)
            await forget_work(connection, row.number)
            await add_event(
                connection, row.number, "status", {"status": QUEUED.value, "reason": "retry", "segments": 0}, now
            )
            return await current_record(connection, id)

    @retried
    async def set_priority(self, id: str, owner: str | None, priority: TaskPriority) -> TaskRecord:
        """Move a queued task to the end of another class. Raises NotFound, Conflict."""
        async with self._database.write() as connection:
            row = await locked_row(connection, id, owner)
            if row.status != QUEUED.value:
                raise Conflict(f"The task is {row.status}.", remedy="Only the priority of a queued one can be changed.")
            if PRIORITIES[row.priority] is not priority:
                [rank] = await task_queue.ranks(connection, [(row.owner, priority)])
                values = {"priority": PRIORITY_NUMBERS[priority], "rank": rank}
                await change(connection, [is_id(id), is_in([QUEUED])], values)
                await add_event(connection, row.number, "priority", {"priority": priority.value}, self._now())
            return await current_record(connection, id)

    @retried
    async def delete(self, id: str, owner: str | None) -> TaskRecord:
        """Remove all rows of a task, whatever its state; its media are the caller's. Raises NotFound."""
        async with self._database.write() as connection:
            row = await locked_row(connection, id, owner)
            await connection.execute(delete(tasks).where(tasks.c.number == row.number))
            return record_of(row)

    @retried
    async def replace_segment(self, id: str, owner: str | None, segment: Segment, *, was: str) -> bool:
        """Put ``segment`` in the place of the one with its number; False: that one does not say ``was`` any more.

        The text, what it is found by, and an event go with it. Raises NotFound; Conflict before the task has ended.
        """
        async with self._database.write() as connection:
            row = await locked_row(connection, id, owner)
            if not TaskStatus(row.status).is_final:
                raise Conflict(f"The task is {row.status}.", remedy="Its text can be corrected when it has ended.")
            values = segment_row(row.number, segment)
            this = (segments_table.c.task == row.number, segments_table.c.id == segment.id)
            if storable(was) != await connection.scalar(select(segments_table.c.text).where(*this)):
                return False
            await connection.execute(update(segments_table).where(*this).values(values))
            await store_text_again(connection, row)
            await add_event(connection, row.number, "corrected", {"segment": segment.id}, self._now())
            return True
