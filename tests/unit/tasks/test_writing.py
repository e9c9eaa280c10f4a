from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.unit.tasks.workshop import progress

from kikitori.store.task_records import TaskRecord, TaskStatus
from kikitori.store.tasks import LostTask, TaskStore
from kikitori.tasks import writing
from kikitori.tasks.writing import CancelRequested, TaskWriter
from kikitori.testing import until

TASK = TaskRecord(id="task_1", status=TaskStatus.RUNNING, created_at=datetime(2026, 3, 1, tzinfo=UTC), attempts=1)


class MemoryStore:
    """Keeps what is written; ``answer`` is what it says to that, or raises."""

    def __init__(self, answer: bool | Exception = False) -> None:
        self.answer = answer
        self.seconds: list[float] = []
        self.tried = asyncio.Event()

    async def advance(self, task: TaskRecord, *, seconds_done: float, **more: Any) -> bool:
        self.tried.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        self.seconds.append(seconds_done)
        return self.answer


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_EVERY_SECONDS", 0.01)


def writer_on(store: MemoryStore) -> TaskWriter:
    """Its clock stands still, so that progress itself is never the time to write."""
    writer = TaskWriter(cast(TaskStore, store), TASK, clock=lambda: 0.0)
    writer.start()
    return writer


async def test_what_waits_is_written_in_time_though_nothing_new_comes() -> None:
    store = MemoryStore()
    writer = writer_on(store)
    await writer.progress(progress(1))
    await writer.progress(progress(2))
    assert store.seconds == []
    await until(lambda: store.seconds == [2.0])
    await writer.progress(progress(3))
    await writer.close()
    assert store.seconds == [2.0, 3.0]


@pytest.mark.parametrize(
    ("answer", "raised"), [(True, CancelRequested), (LostTask(TASK.id), LostTask)], ids=["cancelled", "lost"]
)
async def test_what_was_learned_meanwhile_is_told_to_whoever_comes_next(
    answer: bool | Exception, raised: type[Exception]
) -> None:
    store = MemoryStore(answer)
    writer = writer_on(store)
    await writer.progress(progress(1))
    await store.tried.wait()
    await until(lambda: writer._failure is not None)
    with pytest.raises(raised):
        await writer.progress(progress(2))
    with pytest.raises(raised):
        await writer.close()
