"""What tasks are, and what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TypeAlias

from sqlalchemy import select

from kikitori.store import task_queue
from kikitori.store.tables import segments as segments_table
from kikitori.store.tables import task_events, tasks
from kikitori.store.task_listing import list_tasks
from kikitori.store.task_part import TaskPart
from kikitori.store.task_queries import TaskPage, TaskQuery
from kikitori.store.task_records import TaskEvent, TaskRecord, TaskResult
from kikitori.store.task_rows import event_of, record_of, segment_of
from kikitori.store.task_steps import is_id, row_of, visible
from kikitori.types import Segment

PART = 200
"""Segments unpacked in one go."""

# Inside of TaskReading `list` is its method.
Segments: TypeAlias = list[Segment]
Events: TypeAlias = list[TaskEvent]


class TaskReading(TaskPart):
    """What tasks are and say."""

    async def get(self, id: str, owner: str | None) -> TaskRecord:
        """Raises NotFound."""
        async with self._database.read() as connection:
            return record_of(visible(await row_of(connection, id), id, owner))

    async def result(self, id: str, owner: str | None) -> TaskResult:
        """A task and all of its segments so far. Raises NotFound."""
        async with self._database.read() as connection:
            row = visible(await row_of(connection, id), id, owner)
            found = select(segments_table).where(segments_table.c.task == row.number).order_by(segments_table.c.id)
            segments: Segments = []
            # Ten hours of speech are much to unpack: in parts, so that others have their turn.
            async for rows in (await connection.stream(found)).partitions(PART):
                segments += map(segment_of, rows)
                await asyncio.sleep(0)  # a driver that has the next rows already does not wait
            return TaskResult(task=record_of(row), segments=tuple(segments))

    async def segments(self, id: str, *, after: int = 0, limit: int = 1000) -> Segments:
        """Those with the number ``after`` and higher."""
        number = select(tasks.c.number).where(is_id(id)).scalar_subquery()
        found = (
            select(segments_table)
            .where(segments_table.c.task == number, segments_table.c.id >= after)
            .order_by(segments_table.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [segment_of(row) for row in await connection.execute(found)]

    async def events(self, id: str, *, after: int = 0) -> Events:
        """Those after the one with the number ``after``."""
        number = select(tasks.c.number).where(is_id(id)).scalar_subquery()
        found = select(task_events).where(task_events.c.task == number, task_events.c.id > after)
        async with self._database.read() as connection:
            return [event_of(row, id) for row in await connection.execute(found.order_by(task_events.c.id))]

    async def queue_positions(self, ids: Collection[str]) -> dict[str, int]:
        """1 is next; tasks that do not wait have no position."""
        if not ids:
            return {}
        async with self._database.read() as connection:
            return await task_queue.positions(connection, list(ids))

    async def list(self, query: TaskQuery) -> TaskPage:
        """Raises InvalidOption."""
        async with self._database.read() as connection:
            return await list_tasks(connection, query)
