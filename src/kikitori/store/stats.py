"""Figures of tasks for charts: how many there are, and what became of them, minute by minute.

Cheap with a million tasks: counts stop at a bound, and the minutes are read along the index of ``finished_at``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, select, true, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.store.database import Database
from kikitori.store.tables import tasks
from kikitori.store.task_records import ACTIVE, TaskStatus

MOST_COUNTED = 100_000
"""Of each status."""
MINUTE = "%Y-%m-%d %H:%M"


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """Tasks that ended in the minute from ``at`` on."""

    at: datetime
    ended: Mapping[TaskStatus, int]
    audio_seconds: float
    """Of those that succeeded."""


class StatsStore:
    """``owner`` None counts the tasks of all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(self, owner: str | None) -> dict[TaskStatus, int]:
        """How many tasks there are of each status; ``MOST_COUNTED`` stands for that many and more."""
        async with self._database.read() as connection:
            rows = await connection.execute(union_all(*(_count(status, owner) for status in TaskStatus)))
            return {TaskStatus(status): count for status, count in rows}

    async def minutes(self, owner: str | None, since: datetime) -> list[Minute]:
        """Those since ``since`` in which a task ended, the oldest first."""
        async with self._database.read() as connection:
            minute = _minute(connection)
            found = (
                select(minute, tasks.c.status, func.count(), func.sum(func.coalesce(tasks.c.duration, 0.0)))
                .where(tasks.c.finished_at >= since, _of(owner))
                .group_by(minute, tasks.c.status)
                .order_by(minute)
            )
            rows = (await connection.execute(found)).all()
        return _minutes(rows)

    async def working(self) -> dict[str, int]:
        """How many tasks each node works on."""
        active = tasks.c.status.in_([status.value for status in ACTIVE])
        found = select(tasks.c.node, func.count()).where(active, tasks.c.node.is_not(None)).group_by(tasks.c.node)
        async with self._database.read() as connection:
            return {node: count for node, count in await connection.execute(found)}


def _of(owner: str | None) -> ColumnElement[bool]:
    return true() if owner is None else tasks.c.owner == owner


def _count(status: TaskStatus, owner: str | None) -> Select[str, int]:
    those = select(tasks.c.number).where(tasks.c.status == status.value, _of(owner)).limit(MOST_COUNTED).subquery()
    return select(literal(status.value), func.count()).select_from(those)


def _minute(connection: AsyncConnection) -> ColumnElement[str]:
    """When a task finished, in UTC: ``2026-03-01 12:30``."""
    match connection.dialect.name:
        case "postgresql":
            return func.to_char(func.timezone("UTC", tasks.c.finished_at), "YYYY-MM-DD HH24:MI")
        case "sqlite":
            return func.strftime(MINUTE, tasks.c.finished_at)
        case _:
            return func.date_format(tasks.c.finished_at, "%Y-%m-%d %H:%i")


def _minutes(rows: Any) -> list[Minute]:
    ended: dict[str, dict[TaskStatus, int]] = {}
    audio: dict[str, float] = {}
    for at, status, count, seconds in rows:
        ended.setdefault(at, {})[TaskStatus(status)] = count
        if status == TaskStatus.SUCCEEDED.value:
            audio[at] = float(seconds)
    return [
        Minute(at=datetime.strptime(at, MINUTE).replace(tzinfo=UTC), ended=statuses, audio_seconds=audio.get(at, 0.0))
        for at, statuses in ended.items()
    ]
