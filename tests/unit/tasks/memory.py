"""The database's side of callbacks, in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kikitori.errors import NotFound
from kikitori.store.task_records import Callback, CallbackAttempt, CallbackStatus, TaskRecord, TaskStatus
from kikitori.store.task_rows import host_of
from kikitori.types import Segment

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def finished_task(id: str = "task_1", *, url: str = "https://hooks.example.org/", owner: str = "ann") -> TaskRecord:
    return TaskRecord(
        id=id,
        owner=owner,
        callback_url=url,
        status=TaskStatus.SUCCEEDED,
        created_at=NOON,
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=4),
        duration=2.0,
        seconds_done=2.0,
        language="en",
        model="small",
        engine="whisper",
    )


class MemoryTasks:
    def __init__(self) -> None:
        self.records: dict[str, TaskRecord] = {}
        self.texts: dict[str, tuple[Segment, ...]] = {}
        self.pages = 0

    def add(self, task: TaskRecord, segments: Sequence[Segment] = ()) -> TaskRecord:
        self.records[task.id] = task
        self.texts[task.id] = tuple(segments)
        return task

    async def get(self, id: str, owner: str | None) -> TaskRecord:
        task = self.records.get(id)
        if task is None or owner not in (None, task.owner):
            raise NotFound(f"There is no task {id!r}.")
        return task

    async def segments(self, id: str, *, after: int = 0, limit: int = 1000) -> list[Segment]:
        self.pages += 1
        return [segment for segment in self.texts[id] if segment.id >= after][:limit]


class MemoryOutbox:
    """Leases and schedules as the tables do. ``fails`` is raised by the next call."""

    def __init__(self) -> None:
        self.rows: dict[str, Callback] = {}
        self.leases: dict[str, datetime] = {}
        self.tried: dict[str, list[CallbackAttempt]] = {}
        self.fails: list[Exception] = []

    def add(self, task: TaskRecord, *, at: datetime = NOON) -> Callback:
        callback = Callback(
            id=f"whk_{task.id}",
            task_id=task.id,
            owner=task.owner,
            url=task.callback_url or "",
            status=CallbackStatus.PENDING,
            attempts=0,
            next_attempt_at=at,
            created_at=at,
        )
        self.rows[callback.id] = callback
        self.tried[callback.id] = []
        return callback

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
        self._maybe_fail()
        found = [
            row
            for row in self.rows.values()
            if row.next_attempt_at
            and row.next_attempt_at <= now
            and self.leases.get(row.id, now) <= now
            and host_of(row.url) not in skip_hosts
            and row.owner not in skip_owners
        ][:limit]
        self.leases |= {row.id: now + timedelta(seconds=lease_seconds) for row in found}
        return found

    async def record(
        self,
        callback: Callback,
        attempt: CallbackAttempt,
        *,
        status: CallbackStatus,
        next_attempt_at: datetime | None,
    ) -> None:
        self._maybe_fail()
        self.tried[callback.id].append(attempt)
        self.leases.pop(callback.id, None)
        self.rows[callback.id] = replace(
            self.rows[callback.id],
            attempts=attempt.number,
            status=status,
            next_attempt_at=next_attempt_at,
            delivered_at=attempt.at if status is CallbackStatus.DELIVERED else None,
        )

    async def next_due(self) -> datetime | None:
        return min((row.next_attempt_at for row in self.rows.values() if row.next_attempt_at), default=None)

    async def attempts(self, task_id: str) -> list[tuple[Callback, list[CallbackAttempt]]]:
        return [(row, self.tried[row.id]) for row in self.rows.values() if row.task_id == task_id]

    async def resend(self, task_id: str) -> Callback:
        [(row, _)] = await self.attempts(task_id)
        self.rows[row.id] = replace(row, status=CallbackStatus.PENDING, next_attempt_at=NOON)
        return self.rows[row.id]

    def status(self, task_id: str) -> CallbackStatus:
        return self.rows[f"whk_{task_id}"].status

    def _maybe_fail(self) -> None:
        if self.fails:
            raise self.fails.pop()
