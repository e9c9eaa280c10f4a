"""The outbox of callbacks: rows that were written when tasks ended, and every attempt to deliver them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.errors import NotFound
from kikitori.store.database import Database, retried
from kikitori.store.keys import utc_now
from kikitori.store.tables import callback_attempts, callbacks, tasks
from kikitori.store.task_records import Callback, CallbackAttempt, CallbackStatus
from kikitori.store.task_rows import storable
from kikitori.store.task_steps import add_event

MAX_RESPONSE = 512
IS_PENDING = callbacks.c.status == CallbackStatus.PENDING.value
OLDEST = (callbacks.c.next_attempt_at, callbacks.c.id)


class CallbackStore:
    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    async def due(
        self,
        node_id: str,
        now: datetime,
        limit: int,
        lease_seconds: float,
        *,
        skip_hosts: Collection[str] = (),
        skip_owners: Collection[str] = (),
    ) -> list[Callback]:
        """The longest due ones, which from now on nobody else gets for ``lease_seconds``."""
        found = _due(now, skip_hosts, skip_owners)
        async with self._database.read() as connection:
            if (await connection.execute(found.limit(1))).first() is None:
                return []
        return await self._claim(node_id, now, found.limit(limit), timedelta(seconds=lease_seconds))

    @retried
    async def _claim(self, node_id: str, now: datetime, found: Select[Any], lease: timedelta) -> list[Callback]:
        first = found.with_for_update(skip_locked=True)
        async with self._database.write() as connection:
            these = callbacks.c.id.in_((await connection.scalars(first)).all())
            claim = update(callbacks).where(these, IS_PENDING, _is_free(now))
            await connection.execute(claim.values(locked_until=now + lease, locked_by=node_id))
            rows = await connection.execute(_with_task(these).order_by(*OLDEST))
            return [_callback(row) for row in rows]

    @retried
    async def record(
        self,
        callback: Callback,
        attempt: CallbackAttempt,
        *,
        status: CallbackStatus,
        next_attempt_at: datetime | None,
    ) -> Callback | None:
        """What came of an attempt. It counts even when the lease is over; None: the callback was deleted.

        One that was delivered stays so, whatever a second, later attempt of it says.
        """
        async with self._database.write() as connection:
            known = select(callbacks).where(callbacks.c.id == callback.id).with_for_update()
            row = (await connection.execute(known)).one_or_none()
            if row is None:
                return None
            number = row.attempts + 1
            values: dict[str, Any] = {"attempts": number, "locked_until": None, "locked_by": None}
            if row.status != CallbackStatus.DELIVERED.value:
                values |= {"status": status.value, "next_attempt_at": next_attempt_at}
                values["delivered_at"] = attempt.at if status is CallbackStatus.DELIVERED else None
            await connection.execute(update(callbacks).where(callbacks.c.id == callback.id).values(values))
            await connection.execute(insert(callback_attempts).values(_attempt_row(callback.id, number, attempt)))
            data = {
                "callback": callback.id,
                "status": values.get("status", row.status),
                "attempt": number,
                "status_code": attempt.status_code,
            }
            await add_event(connection, row.task, "callback", data, self._now())
            return await _one(connection, callback.id)

    async def attempts(self, task_id: str) -> list[tuple[Callback, list[CallbackAttempt]]]:
        """All callbacks of a task, the oldest first, each with its attempts."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_of_task(task_id))).all()
            these = callback_attempts.c.callback.in_([row.id for row in rows])
            found = select(callback_attempts).where(these).order_by(callback_attempts.c.number)
            attempts: dict[str, list[CallbackAttempt]] = {row.id: [] for row in rows}
            for entry in await connection.execute(found):
                attempts[entry.callback].append(_attempt(entry))
            return [(_callback(row), attempts[row.id]) for row in rows]

    @retried
    async def resend(self, task_id: str) -> Callback:
        """The last callback of a task is due now, under the same id. Raises NotFound."""
        async with self._database.write() as connection:
            rows = (await connection.execute(_of_task(task_id))).all()
            if not rows:
                raise NotFound("This task has no callback.", remedy="It has one when it ends and has a callback_url.")
            now = self._now()
            again = {
                "status": CallbackStatus.PENDING.value,
                "next_attempt_at": now,
                "locked_until": None,
                "locked_by": None,
                "delivered_at": None,
            }
            last = rows[-1]
            await connection.execute(update(callbacks).where(callbacks.c.id == last.id).values(again))
            data = {"callback": last.id, "status": CallbackStatus.PENDING.value, "reason": "resend"}
            await add_event(connection, last.task, "callback", data, now)
            return await _one(connection, last.id)

    async def next_due(self) -> datetime | None:
        """When the next one may be sent, which may be in the past; None: none waits."""
        due, until = callbacks.c.next_attempt_at, callbacks.c.locked_until
        free = select(func.min(due)).where(IS_PENDING, or_(until.is_(None), until <= due))
        held = select(func.min(until)).where(IS_PENDING, until > due)
        async with self._database.read() as connection:
            times = [await connection.scalar(free), await connection.scalar(held)]
        return min((time for time in times if time is not None), default=None)


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(callbacks.c.locked_until.is_(None), callbacks.c.locked_until <= now)


def _due(now: datetime, skip_hosts: Collection[str], skip_owners: Collection[str]) -> Select[Any]:
    found = select(callbacks.c.id).where(IS_PENDING, callbacks.c.next_attempt_at <= now, _is_free(now))
    if skip_hosts:
        found = found.where(callbacks.c.host.not_in(list(skip_hosts)))
    if skip_owners:
        theirs = (tasks.c.number == callbacks.c.task, tasks.c.owner.in_(list(skip_owners)))
        found = found.where(~exists().where(*theirs))
    return found.order_by(*OLDEST)


def _of_task(task_id: str) -> Select[Any]:
    return _with_task(tasks.c.id == task_id).order_by(callbacks.c.created_at, callbacks.c.id)


def _with_task(*conditions: ColumnElement[bool]) -> Select[Any]:
    joined = callbacks.join(tasks, tasks.c.number == callbacks.c.task)
    return select(callbacks, tasks.c.id.label("task_id"), tasks.c.owner).select_from(joined).where(*conditions)


async def _one(connection: AsyncConnection, id: str) -> Callback:
    return _callback((await connection.execute(_with_task(callbacks.c.id == id))).one())


def _callback(row: Row[Any]) -> Callback:
    return Callback(
        id=row.id,
        task_id=row.task_id,
        owner=row.owner,
        url=row.url,
        status=CallbackStatus(row.status),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
    )


def _attempt_row(callback_id: str, number: int, attempt: CallbackAttempt) -> dict[str, Any]:
    return {
        "callback": callback_id,
        "number": number,
        "at": attempt.at,
        "status_code": attempt.status_code,
        "error": storable(attempt.error),
        "response": storable(attempt.response)[:MAX_RESPONSE],
        "seconds": attempt.seconds,
    }


def _attempt(row: Row[Any]) -> CallbackAttempt:
    return CallbackAttempt(
        number=row.number,
        at=row.at,
        status_code=row.status_code,
        error=row.error,
        response=row.response,
        seconds=row.seconds,
    )
