"""What a node writes about a task that it works on, as long as the task is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.store import task_queue
from kikitori.store.database import retried
from kikitori.store.tables import segments as segments_table
from kikitori.store.tables import tasks
from kikitori.store.task_creation import insert_tasks
from kikitori.store.task_part import TaskPart
from kikitori.store.task_records import FINAL, Checkpoint, NewTask, TaskError, TaskRecord, TaskStatus
from kikitori.store.task_rows import MAX_FILE_NAME, check_task, checkpoint_row, record_of, segment_row, storable
from kikitori.store.task_steps import add_status, change, end, is_held, is_id, is_in, queue_again, row_of, rows_of
from kikitori.types import Segment


class LostTask(Exception):
    """The task is not this node's any more: whatever it has still to write about it does not count."""


class TaskProgress(TaskPart):
    """What a node writes about a task that it works on."""

    @retried
    async def fetched(
        self,
        task: TaskRecord,
        *,
        media_key: str,
        media_bytes: int | None = None,
        file_name: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> TaskRecord:
        """The media are in the store now. An empty ``file_name`` keeps the caller's; ``details`` are added."""
        values: dict[str, Any] = {
            "media_key": media_key,
            "media_bytes": media_bytes,
            "fetched": True,
            "details": {**task.details, **(details or {})},
        }
        if file_name:
            values["file_name"] = storable(file_name)[:MAX_FILE_NAME]
        async with self._database.write() as connection:
            return record_of(await _write_held(connection, task, values))

    @retried
    async def started(
        self,
        task: TaskRecord,
        *,
        duration: float | None,
        model: str,
        engine: str,
        mode: str,
    ) -> TaskRecord:
        """Decoding begins."""
        values: dict[str, Any] = {
            "status": TaskStatus.RUNNING.value,
            "duration": duration,
            "model": model,
            "engine": engine,
            "mode": mode,
        }
        async with self._database.write() as connection:
            row = await _write_held(connection, task, values)
            if task.status is not TaskStatus.RUNNING:
                await add_status(connection, row, self._now())
            return record_of(row)

    @retried
    async def advance(
        self,
        task: TaskRecord,
        *,
        segments: Sequence[Segment],
        seconds_done: float,
        duration: float | None,
        checkpoint: Checkpoint | None,
        language: tuple[str, float] | None = None,
    ) -> bool:
        """Store what was decoded; True: the task shall be cancelled. A ``checkpoint`` None keeps the last one.

        ``language`` comes with its probability as soon as it is known.

        May be repeated: a commit whose answer was lost leaves the same segments as one that was seen.
        """
        values: dict[str, Any] = {"seconds_done": seconds_done}
        if duration is not None:
            values["duration"] = duration
        if checkpoint is not None:
            values["checkpoint"] = checkpoint_row(checkpoint)
        if language is not None:
            values["language"], values["language_probability"] = language
        async with self._database.write() as connection:
            row = await _write_held(connection, task, values)
            if segments:
                await _forget_segments(connection, row.number, segments[0].id)
                new = [segment_row(row.number, segment) for segment in segments]
                await connection.execute(insert(segments_table), new)
            return bool(row.cancel_requested)

    @retried
    async def rewind(self, task: TaskRecord) -> int:
        """Forget the segments after the checkpoint; how many stay. A task without one has none left."""
        async with self._database.write() as connection:
            row = await _write_held(connection, task, {"node": task.node})
            checkpoint = Checkpoint(**row.checkpoint) if row.checkpoint else Checkpoint(seconds=0.0, segments=0)
            values: dict[str, Any] = {"seconds_done": checkpoint.seconds}
            if row.checkpoint:
                values["checkpoint"] = checkpoint_row(checkpoint.taken_up())
            await _write_held(connection, task, values)
            if await _forget_segments(connection, row.number, checkpoint.segments):
                # Whoever follows the task has heard them.
                await add_status(connection, row, self._now(), segments=checkpoint.segments)
            return checkpoint.segments

    @retried
    async def finish(self, task: TaskRecord, status: TaskStatus, *, error: TaskError | None = None) -> TaskRecord:
        """The end: status, text, callback and event in one. ``error`` is there exactly when ``status`` is failed.

        Repeated, it says again what the first time stored.
        """
        if status not in FINAL or (error is None) == (status is TaskStatus.FAILED):
            raise ValueError(f"a task cannot end as {status} with the error {error}")
        all_done = status is TaskStatus.SUCCEEDED and task.duration is not None
        values = {"seconds_done": task.duration} if all_done else {}
        async with self._database.write() as connection:
            ended = await end(connection, is_held(task), task.id, status, now=self._now(), error=error, **values)
            return ended or await _ended_before(connection, task, status)

    @retried
    async def release(self, task: TaskRecord) -> None:
        """Back to the front of the queue, as if this attempt had not been: its node shuts down."""
        async with self._database.write() as connection:
            row = await _write_held(connection, task, {"node": task.node})
            if row.cancel_requested:
                await end(connection, is_held(task), task.id, TaskStatus.CANCELLED, now=self._now())
                return
            await queue_again(connection, row, now=self._now(), reason="released", attempts=row.attempts - 1)

    @retried
    async def expand(
        self,
        task: TaskRecord,
        children: Sequence[NewTask],
        *,
        details: Mapping[str, Any] | None = None,
        max_queued: int = 0,
    ) -> list[TaskRecord]:
        """A playlist: its entries become tasks, and itself is done. ``details`` are added to its own.

        Raises Busy when the queue has no room for all of them.
        """
        for child in children:
            check_task(child)
        own: dict[str, Any] = {"details": {**task.details, **(details or {})}}
        async with self._database.write() as connection:
            ended = await end(connection, is_held(task), task.id, TaskStatus.SUCCEEDED, now=self._now(), **own)
            if ended is not None:
                await task_queue.check_room(connection, len(children), max_queued)
                return await insert_tasks(connection, children, self._now())
            await _ended_before(connection, task, TaskStatus.SUCCEEDED)
            made = await rows_of(connection, [child.id for child in children])
            return [record_of(made[child.id]) for child in children if child.id in made]


async def _write_held(connection: AsyncConnection, task: TaskRecord, values: Mapping[str, Any]) -> Row[Any]:
    """Write ``values`` if the task is still this node's; raises LostTask."""
    row = await row_of(connection, task.id) if await change(connection, is_held(task), values) else None
    if row is None:
        raise LostTask(task.id)
    return row


async def _ended_before(connection: AsyncConnection, task: TaskRecord, status: TaskStatus) -> TaskRecord:
    """What an earlier try of the same end stored; raises LostTask when it was not this node's."""
    same = (is_id(task.id), tasks.c.node == task.node, tasks.c.attempts == task.attempts, is_in([status]))
    row = (await connection.execute(select(tasks).where(*same))).one_or_none()
    if row is None:
        raise LostTask(task.id)
    return record_of(row)


async def _forget_segments(connection: AsyncConnection, number: int, first: int) -> int:
    these = (segments_table.c.task == number, segments_table.c.id >= first)
    return int((await connection.execute(delete(segments_table).where(*these))).rowcount)
