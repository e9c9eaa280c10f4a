"""What happens to a task, each a few statements inside the transaction of ``tasks.TaskStore``.

A change says from which state it starts. When no row is in that state any more, there is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import anyio.to_thread
from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.errors import NotFound
from kikitori.store.search import terms_of
from kikitori.store.tables import callbacks, segments, task_events, tasks, transcripts
from kikitori.store.task_queue import front_rank
from kikitori.store.task_records import (
    ACTIVE,
    CallbackStatus,
    TaskError,
    TaskRecord,
    TaskStatus,
    new_id,
)
from kikitori.store.task_rows import PRIORITIES, error_row, event_row, host_of, record_of
from kikitori.store.task_search import stored_terms

T = TypeVar("T")

CHUNK = 500
"""Values in one statement."""


def in_chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """As many at a time as one statement may name."""
    rest = list(values)
    for at in range(0, len(rest), CHUNK):
        yield rest[at : at + CHUNK]


def is_id(id: str) -> ColumnElement[bool]:
    return tasks.c.id == id


def is_in(statuses: Iterable[TaskStatus]) -> ColumnElement[bool]:
    return tasks.c.status.in_([status.value for status in statuses])


def is_held(task: TaskRecord) -> tuple[ColumnElement[bool], ...]:
    """The fence: the node that began ``task`` still has it, and nobody has begun it anew."""
    return (is_id(task.id), tasks.c.node == task.node, tasks.c.attempts == task.attempts, is_in(ACTIVE))


async def change(
    connection: AsyncConnection, conditions: Iterable[ColumnElement[bool]], values: Mapping[str, Any]
) -> int:
    """How many rows met ``conditions`` and have ``values`` now."""
    result = await connection.execute(update(tasks).where(*conditions).values(values))
    return int(result.rowcount)


async def row_of(connection: AsyncConnection, id: str) -> Row[Any] | None:
    return (await connection.execute(select(tasks).where(is_id(id)))).one_or_none()


async def locked_row(connection: AsyncConnection, id: str, owner: str | None) -> Row[Any]:
    """The row, which nobody else changes before the end of the transaction."""
    found = select(tasks).where(is_id(id)).with_for_update()
    return visible((await connection.execute(found)).one_or_none(), id, owner)


def visible(row: Row[Any] | None, id: str, owner: str | None) -> Row[Any]:
    if row is None or (owner is not None and row.owner != owner):
        shown = id if len(id) <= 60 else id[:59] + "…"
        raise NotFound(f"There is no task {shown!r}.", remedy="GET /api/tasks lists those that are here.")
    return row


async def current_record(connection: AsyncConnection, id: str) -> TaskRecord:
    return record_of((await connection.execute(select(tasks).where(is_id(id)))).one())


async def rows_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for some in in_chunks(ids):
        rows = await connection.execute(select(tasks).where(tasks.c.id.in_(some)))
        found |= {row.id: row for row in rows}
    return found


async def add_event(
    connection: AsyncConnection, number: int, type: str, data: Mapping[str, Any], now: datetime
) -> None:
    await connection.execute(insert(task_events).values(event_row(number, type, data, now)))


async def add_status(connection: AsyncConnection, row: Row[Any], now: datetime, **more: Any) -> None:
    """The event of the status that ``row`` has now."""
    await add_event(connection, row.number, "status", {"status": row.status, **more}, now)


async def end(
    connection: AsyncConnection,
    conditions: Sequence[ColumnElement[bool]],
    id: str,
    status: TaskStatus,
    *,
    now: datetime,
    error: TaskError | None = None,
    **values: Any,
) -> TaskRecord | None:
    """The one way into a final state: its status, text, callback and event. None: ``conditions`` do not hold."""
    values |= {"status": status.value, "finished_at": now, "rank": None, "error": error_row(error)}
    if not await change(connection, conditions, values):
        return None
    row = await row_of(connection, id)
    if row is None:
        return None
    await _store_text(connection, row)
    await _store_callback(connection, row, now)
    await add_status(connection, row, now, **({"error": error_row(error)} if error else {}))
    return record_of(row)


async def queue_again(connection: AsyncConnection, row: Row[Any], *, now: datetime, reason: str, attempts: int) -> None:
    """An active task goes to the front of the queue; the caller has seen ``row`` and holds its lock."""
    rank = await front_rank(connection, PRIORITIES[row.priority])
    values = {"status": TaskStatus.QUEUED.value, "node": None, "attempts": attempts, "rank": rank}
    await change(connection, [tasks.c.number == row.number, is_in(ACTIVE)], values)
    await add_event(connection, row.number, "status", {"status": TaskStatus.QUEUED.value, "reason": reason}, now)


async def forget_work(connection: AsyncConnection, number: int) -> None:
    """What was decoded is gone: segments and text."""
    await connection.execute(delete(transcripts).where(transcripts.c.task == number))
    await connection.execute(delete(segments).where(segments.c.task == number))


async def store_text_again(connection: AsyncConnection, row: Row[Any]) -> None:
    """The text of a task whose segments were changed, and what it is found by."""
    await connection.execute(delete(transcripts).where(transcripts.c.task == row.number))
    await _store_text(connection, row)


async def _store_text(connection: AsyncConnection, row: Row[Any]) -> None:
    found = select(segments.c.text).where(segments.c.task == row.number).order_by(segments.c.id)
    text = "".join((await connection.scalars(found)).all()).strip()
    if not text:
        return
    terms = await anyio.to_thread.run_sync(terms_of, text, row.owner)
    await connection.execute(
        insert(transcripts).values(task=row.number, text=text, terms=stored_terms(connection.dialect.name, terms))
    )


async def _store_callback(connection: AsyncConnection, row: Row[Any], now: datetime) -> None:
    if not row.callback_url:
        return
    await connection.execute(
        insert(callbacks).values(
            id=new_id("whk"),
            task=row.number,
            url=row.callback_url,
            host=host_of(row.callback_url),
            status=CallbackStatus.PENDING.value,
            attempts=0,
            next_attempt_at=now,
            created_at=now,
        )
    )
