"""Secrets that the server made for itself, and that all of its nodes share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import insert, select

from kikitori.store.database import Database, retried
from kikitori.store.keys import utc_now
from kikitori.store.tables import secrets


class SecretStore:
    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    @retried
    async def get_or_create(self, name: str, make: Callable[[], str]) -> str:
        """The secret of this name: the same for everybody, also for those who ask for the first time at once."""
        known = select(secrets.c.value).where(secrets.c.name == name)
        async with self._database.read() as connection:
            value = (await connection.execute(known)).scalar_one_or_none()
        if value is None:
            async with self._database.write() as connection:
                # SQLite lets one writer in at a time; elsewhere the second insert fails, and everything begins anew.
                value = (await connection.execute(known)).scalar_one_or_none()
                if value is None:
                    value = make()
                    row = {"name": name, "value": value, "created_at": self._now()}
                    await connection.execute(insert(secrets).values(row))
        return str(value)
