from pathlib import Path

import pytest
from tests.databases import migrated_sqlite

from kikitori.store import task_queue
from kikitori.store.database import Database
from kikitori.store.task_records import NewTask, TaskPriority, new_id
from kikitori.store.tasks import TaskStore


@pytest.mark.parametrize("looked_at", [2_000, 4])
async def test_places_are_the_same_however_they_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    monkeypatch.setattr(task_queue, "MAX_BETWEEN", looked_at)
    new = [
        NewTask(
            id=new_id("task"),
            owner=f"owner {at % 4}",
            priority=(TaskPriority.NORMAL, TaskPriority.LOW)[at % 3 == 0],
            url="https://example.org/a.mp3" if at % 2 else None,
            media_key=None if at % 2 else "ab/task_ab-0123456789abcdef",
        )
        for at in range(40)
    ]
    async with Database(await migrated_sqlite(tmp_path / "tasks.db")) as database:
        store = TaskStore(database)
        await store.create(new)
        some = [task.id for task in new[::3]] + [new[-1].id]
        told = await store.queue_positions(some)
        order = [task.id for task in await store.claim("node", 100)]
        assert told == {id: order.index(id) + 1 for id in some}


async def test_places_far_behind_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_queue, "MAX_POSITION", 5)
    new = [NewTask(id=new_id("task"), url="https://example.org/a.mp3") for _ in range(9)]
    async with Database(await migrated_sqlite(tmp_path / "tasks.db")) as database:
        store = TaskStore(database)
        await store.create(new)
        told = await store.queue_positions([task.id for task in new])
        assert told == {task.id: place for place, task in enumerate(new[:5], start=1)}
