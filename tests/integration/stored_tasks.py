"""Tasks in a store: made, begun, and brought to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from kikitori.store.database import Database
from kikitori.store.tables import metadata
from kikitori.store.task_records import Checkpoint, NewTask, TaskError, TaskPriority, TaskRecord, new_id
from kikitori.store.tasks import TaskStore
from kikitori.types import Segment

NOBODY = TaskError(code="no_answer", message="Nobody answered.", remedy="Try again.")
HIGH, NORMAL, LOW = TaskPriority.HIGH, TaskPriority.NORMAL, TaskPriority.LOW


def new(owner: str = "ann", **more: Any) -> NewTask:
    return NewTask(**({"id": new_id("task"), "owner": owner, "url": "https://example.org/a.mp3"} | more))


def said(*texts: str, first: int = 0) -> list[Segment]:
    return [Segment(id=first + at, start=first + at, end=first + at + 1, text=text) for at, text in enumerate(texts)]


async def run(store: TaskStore, node: str = "node_1") -> TaskRecord:
    """Claim one task and begin it."""
    [task] = await store.claim(node, 1)
    return await started(store, task)


async def started(store: TaskStore, task: TaskRecord, **more: Any) -> TaskRecord:
    facts: dict[str, Any] = {"duration": 10.0, "model": "tiny", "engine": "whisper", "mode": "windowed"} | more
    return await store.started(task, **facts)


async def advance(
    store: TaskStore,
    task: TaskRecord,
    segments: Sequence[Segment],
    *,
    checkpoint: bool = True,
    attempt: int = 0,
    language: tuple[str, float] | None = None,
) -> bool:
    end = segments[-1].id + 1
    point = Checkpoint(seconds=float(end), segments=end, attempt=attempt) if checkpoint else None
    return await store.advance(
        task, segments=segments, seconds_done=float(end), duration=None, checkpoint=point, language=language
    )


async def statuses(store: TaskStore, id: str) -> list[str]:
    return [event.data["status"] for event in await store.events(id) if event.type == "status"]


async def row_counts(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {
            table.name: (await connection.scalar(select(func.count()).select_from(table))) or 0
            for table in metadata.sorted_tables
        }
