"""Which processes there are, and when each was last heard of."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from kikitori.store.database import Database, retried
from kikitori.store.tables import nodes
from kikitori.store.task_records import Node


class NodeStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    async def register(self, node: Node) -> None:
        """A node of this id, if there was one, is this one now."""
        async with self._database.write() as connection:
            await connection.execute(delete(nodes).where(nodes.c.id == node.id))
            await connection.execute(insert(nodes).values(asdict(node)))

    @retried
    async def beat(self, id: str, at: datetime) -> bool:
        """The node lives, also where another one took it for dead; False: it is not registered."""
        living = {"heartbeat_at": at, "stopped_at": None}
        async with self._database.write() as connection:
            result = await connection.execute(update(nodes).where(nodes.c.id == id).values(living))
            return bool(result.rowcount)

    @retried
    async def stop(self, id: str, at: datetime) -> None:
        """The node ended, or was found dead."""
        async with self._database.write() as connection:
            running = update(nodes).where(nodes.c.id == id, nodes.c.stopped_at.is_(None))
            await connection.execute(running.values(stopped_at=at))

    @retried
    async def forget(self, before: datetime) -> int:
        """Remove those that stopped earlier; how many."""
        async with self._database.write() as connection:
            result = await connection.execute(delete(nodes).where(nodes.c.stopped_at < before))
            return int(result.rowcount)

    async def list(self) -> list[Node]:
        """All, the oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(nodes).order_by(nodes.c.started_at, nodes.c.id))
            return [_node(row) for row in rows]


def _node(row: Row[Any]) -> Node:
    return Node(**row._mapping)
