"""Which node works on what: tasks are claimed, expire, and are taken back from nodes that died."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.store import task_queue
from kikitori.store.database import retried
from kikitori.store.tables import task_events, tasks
from kikitori.store.task_part import TaskPart
from kikitori.store.task_queue import IS_QUEUED
from kikitori.store.task_records import ACTIVE, Checkpoint, TaskError, TaskRecord, TaskStatus
from kikitori.store.task_rows import event_row, record_of
from kikitori.store.task_steps import change, end, in_chunks, is_held, is_in, queue_again

CRASHED = TaskError(
    code="crashed",
    message="Every process that worked on this task ended in the middle of it.",
    remedy="The logs of the nodes say why; a retry starts from the beginning.",
)
EXPIRED_BATCH = 200


class TaskClaims(TaskPart):
    """Which node works on what."""

    async def claim(self, node_id: str, limit: int, *, fetched: bool | None = None) -> list[TaskRecord]:
        """The next tasks of the queue, now this node's; what nobody began in time expires instead.

        ``fetched``: only those whose media are in the store, or only those whose are not.
        """
        async with self._database.read() as connection:
            if not await task_queue.classes(connection, fetched):
                return []
        await self.expire()
        return await self._claim(node_id, limit, fetched)

    @retried
    async def _claim(self, node_id: str, limit: int, fetched: bool | None) -> list[TaskRecord]:
        claimed: list[TaskRecord] = []
        async with self._database.write() as connection:
            now = self._now()
            await _end_late(connection, now)
            while len(claimed) < limit:
                rows = await task_queue.next_in_turn(connection, limit - len(claimed), fetched)
                if not rows:
                    break
                claimed += await _begin(connection, rows, node_id, now)
        return claimed

    async def holders(self) -> set[str]:
        """The nodes that have tasks now."""
        async with self._database.read() as connection:
            found = select(tasks.c.node).where(is_in(ACTIVE), tasks.c.node.is_not(None)).distinct()
            return set((await connection.scalars(found)).all())

    async def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Those of ``ids`` that shall be cancelled, and those that are gone."""
        going_on: set[str] = set()
        async with self._database.read() as connection:
            for some in in_chunks(ids):
                found = select(tasks.c.id).where(tasks.c.id.in_(some), tasks.c.cancel_requested.is_(False))
                going_on.update((await connection.scalars(found)).all())
        return set(ids) - going_on

    async def expire(self) -> list[str]:
        """End what nobody began in time, also while nothing is claimed; the ids."""
        async with self._database.read() as connection:
            if not (await connection.execute(_late(self._now()).limit(1))).first():
                return []
        expired: list[str] = []
        while True:  # each batch by itself: a long transaction would keep everybody else from writing
            expired += (batch := await self._expire())
            if len(batch) < EXPIRED_BATCH:
                return expired

    @retried
    async def _expire(self) -> list[str]:
        async with self._database.write() as connection:
            return await _end_late(connection, self._now())

    async def recover(
        self,
        dead_node_ids: Collection[str],
        *,
        max_attempts: int,
        except_ids: Collection[str] = (),
        begun_before: datetime | None = None,
    ) -> list[str]:
        """The tasks of nodes that died go to the front of the queue.

        Those that did so too often without getting any further fail.

        ``except_ids``, and what was not ``begun_before``, are worked on after all: a node looks this way for what it
        dropped itself. The ids of all that were changed. Several nodes may do this at once.
        """
        if not dead_node_ids:
            return []
        of_dead = [is_in(ACTIVE), tasks.c.node.in_(list(dead_node_ids))]
        if begun_before is not None:
            of_dead.append(tasks.c.started_at < begun_before)
        async with self._database.read() as connection:
            rows = (await connection.execute(select(tasks).where(*of_dead).order_by(tasks.c.number.desc()))).all()
        dropped = [row for row in rows if row.id not in set(except_ids)]
        return [row.id for row in dropped if await self._recover(record_of(row), max_attempts)]

    @retried
    async def _recover(self, task: TaskRecord, max_attempts: int) -> bool:
        async with self._database.write() as connection:
            row = (await connection.execute(select(tasks).where(*is_held(task)).with_for_update())).one_or_none()
            if row is None:
                return False
            now = self._now()
            if row.cancel_requested:
                await end(connection, is_held(task), task.id, TaskStatus.CANCELLED, now=now)
            elif _fruitless(row) >= max_attempts:
                await end(connection, is_held(task), task.id, TaskStatus.FAILED, now=now, error=CRASHED)
            else:
                await queue_again(connection, row, now=now, reason="recovered", attempts=row.attempts)
            return True


async def _begin(
    connection: AsyncConnection, rows: Sequence[Row[Any]], node_id: str, now: datetime
) -> list[TaskRecord]:
    numbers = [row.number for row in rows]
    these = tasks.c.number.in_(numbers)
    values = {
        "status": TaskStatus.FETCHING.value,
        "node": node_id,
        "attempts": tasks.c.attempts + 1,
        "started_at": now,
        "rank": None,
    }
    await change(connection, [these, is_in([TaskStatus.QUEUED])], values)
    begun = {row.number: row for row in await connection.execute(select(tasks).where(these))}
    data = {"status": TaskStatus.FETCHING.value, "node": node_id}
    events = [event_row(number, "status", data | {"attempt": begun[number].attempts}, now) for number in numbers]
    await connection.execute(insert(task_events), events)
    return [record_of(begun[number]) for number in numbers]


def _late(now: datetime) -> Select[Any]:
    return select(tasks).where(IS_QUEUED, tasks.c.expires_at <= now)


async def _end_late(connection: AsyncConnection, now: datetime) -> list[str]:
    """A batch of those that nobody began in time."""
    late = _late(now).limit(EXPIRED_BATCH).with_for_update(skip_locked=True)
    rows = (await connection.execute(late)).all()
    for row in rows:
        queued = [tasks.c.number == row.number, is_in([TaskStatus.QUEUED])]
        await end(connection, queued, row.id, TaskStatus.EXPIRED, now=now)
    return [row.id for row in rows]


def _fruitless(row: Row[Any]) -> int:
    """How many attempts there were since one that got on with the task."""
    return int(row.attempts) - (Checkpoint(**row.checkpoint).attempt if row.checkpoint else 0)
