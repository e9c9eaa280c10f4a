"""Which processes there are, and when each was last heard of."""

from __future__ import annotations

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
            await connection.execute(insert(nodes).values(_row(node)))

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

    async def dead(self, before: datetime) -> list[Node]:
        """Those that were last heard of earlier, and did not stop."""
        silent = select(nodes).where(nodes.c.stopped_at.is_(None), nodes.c.heartbeat_at < before)
        async with self._database.read() as connection:
            return [_node(row) for row in await connection.execute(silent.order_by(nodes.c.heartbeat_at))]

    async def list(self) -> list[Node]:
        """All, the oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(nodes).order_by(nodes.c.started_at, nodes.c.id))
            return [_node(row) for row in rows]


def _row(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "host": node.host,
        "pid": node.pid,
        "version": node.version,
        "slots": node.slots,
        "media_url": node.media_url,
        "started_at": node.started_at,
        "heartbeat_at": node.heartbeat_at,
        "stopped_at": node.stopped_at,
    }


def _node(row: Row[Any]) -> Node:
    return Node(
        id=row.id,
        host=row.host,
        pid=row.pid,
        version=row.version,
        slots=row.slots,
        media_url=row.media_url,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        stopped_at=row.stopped_at,
    )
