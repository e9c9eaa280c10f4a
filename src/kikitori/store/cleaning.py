"""What is too old, and what belongs to nothing any more.

Each change says again what makes a task too old: one that was begun anew in between is left alone. The media of what is
removed here are the caller's to delete, afterwards: what a crash leaves of them belongs to no task.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, delete, select, update

from kikitori.store.database import Database, retried
from kikitori.store.tables import tasks
from kikitori.store.task_records import FINAL
from kikitori.store.task_steps import in_chunks, is_id, is_in


class Cleaning:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended_before(self, time: datetime, limit: int, *, with_media: bool = False) -> list[str]:
        """The ids of tasks, the oldest first; ``with_media``: only of those whose media are in the store."""
        found = select(tasks.c.id).where(tasks.c.finished_at < time)
        if with_media:
            found = found.where(tasks.c.media_key.is_not(None), tasks.c.fetched == with_media)
        async with self._database.read() as connection:
            return list((await connection.scalars(found.order_by(tasks.c.finished_at).limit(limit))).all())

    @retried
    async def remove(self, id: str, *, ended_before: datetime) -> str | None:
        """Remove all rows of a task that has ended; the key of its media, where it had some."""
        old = _old(id, ended_before)
        async with self._database.write() as connection:
            key = await connection.scalar(select(tasks.c.media_key).where(*old).with_for_update())
            gone = await connection.execute(delete(tasks).where(*old))
            return key if gone.rowcount else None

    @retried
    async def forget_media(self, id: str, *, ended_before: datetime) -> str | None:
        """A task that has ended has no recording any more; the key that it had."""
        old = [*_old(id, ended_before), tasks.c.media_key.is_not(None)]
        async with self._database.write() as connection:
            key = await connection.scalar(select(tasks.c.media_key).where(*old).with_for_update())
            without = {"media_key": None, "media_bytes": None, "fetched": False}
            changed = await connection.execute(update(tasks).where(*old).values(without))
            return key if changed.rowcount else None

    async def media_keys(self, ids: Iterable[str]) -> set[str]:
        """The media that the tasks called ``ids`` have."""
        found: set[str] = set()
        async with self._database.read() as connection:
            for some in in_chunks(ids):
                keys = select(tasks.c.media_key).where(tasks.c.id.in_(some), tasks.c.media_key.is_not(None))
                found.update((await connection.scalars(keys)).all())
        return found


def _old(id: str, ended_before: datetime) -> list[ColumnElement[bool]]:
    return [is_id(id), is_in(FINAL), tasks.c.finished_at < ended_before]
