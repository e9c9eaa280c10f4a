"""New rows: of tasks whose owners may have asked for them before.

Statements of one transaction, which ``task_requests`` and ``task_progress`` open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.errors import Conflict
from kikitori.store import task_queue
from kikitori.store.tables import task_events, task_tags, tasks
from kikitori.store.task_records import NewTask, TaskRecord, TaskStatus
from kikitori.store.task_rows import event_row, new_record, new_row, record_of, tag_rows
from kikitori.store.task_steps import in_chunks, rows_of


async def create_tasks(
    connection: AsyncConnection, asked: Sequence[NewTask], now: datetime, *, max_queued: int
) -> list[TaskRecord]:
    """The tasks of ``asked``, made now or with the same idempotency keys before. Raises Conflict, Busy."""
    known = await _known_keys(connection, asked)
    fresh = _first_of_each(task for task in asked if (task.owner, task.idempotency_key) not in known)
    await task_queue.check_room(connection, len(fresh), max_queued)
    made = await insert_tasks(connection, fresh, now)
    by_id = {record.id: record for record in made}
    known |= {(record.owner, record.idempotency_key): record for record in made if record.idempotency_key}
    found = [by_id.get(task.id) or known[task.owner, task.idempotency_key] for task in asked]
    _require_same(found, asked)
    return found


async def insert_tasks(connection: AsyncConnection, new: Sequence[NewTask], now: datetime) -> list[TaskRecord]:
    """Rows, first events and tags, at the end of the queue."""
    if not new:
        return []
    ranks = await task_queue.ranks(connection, [(task.owner, task.priority) for task in new])
    rows = [new_row(task, now=now, rank=rank) for task, rank in zip(new, ranks, strict=True)]
    await connection.execute(insert(tasks), rows)
    numbers = {id: row.number for id, row in (await rows_of(connection, [task.id for task in new])).items()}
    queued = {"status": TaskStatus.QUEUED.value}
    events = [event_row(numbers[task.id], "status", queued, now) for task in new]
    await connection.execute(insert(task_events), events)
    tags = [row for task in new for row in tag_rows(task, numbers[task.id])]
    if tags:
        await connection.execute(insert(task_tags), tags)
    return [new_record(task, now=now) for task in new]


async def _known_keys(connection: AsyncConnection, new: Sequence[NewTask]) -> dict[tuple[str, str | None], TaskRecord]:
    """The tasks that were made with the idempotency keys of ``new`` before."""
    by_owner: dict[str, list[str]] = {}
    for task in new:
        if task.idempotency_key:
            by_owner.setdefault(task.owner, []).append(task.idempotency_key)
    known: dict[tuple[str, str | None], TaskRecord] = {}
    for owner, keys in by_owner.items():
        for some in in_chunks(keys):
            with_key = select(tasks).where(tasks.c.owner == owner, tasks.c.idempotency_key.in_(some))
            rows = await connection.execute(with_key)
            known |= {(owner, row.idempotency_key): record_of(row) for row in rows}
    return known


def _first_of_each(new: Iterable[NewTask]) -> list[NewTask]:
    """Without those that repeat the idempotency key of an earlier one."""
    found: dict[object, NewTask] = {}
    for task in new:
        found.setdefault((task.owner, task.idempotency_key) if task.idempotency_key else task.id, task)
    return list(found.values())


def _require_same(found: Iterable[TaskRecord], asked: Iterable[NewTask]) -> None:
    """An idempotency key stands for one request; raises Conflict when it comes with another one."""
    for record, new in zip(found, asked, strict=True):
        if record.id != new.id and not record.asks_for_the_same(new):
            raise Conflict(
                f"The idempotency key is that of the task {record.id}, which asks for something else.",
                remedy="Use a new key for a new task.",
                param="idempotency_key",
            )
