"""The durable tasks. The table itself is the queue, and every change of a task is one transaction with its event.

A node claims a task, and from then on names ``node`` and ``attempts`` with each write: a write of a node that was taken
for dead, and whose task another one has begun since, is refused with LostTask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.errors import Conflict, NotFound
from kikitori.store import task_queue
from kikitori.store.database import Database, retried
from kikitori.store.keys import utc_now
from kikitori.store.tables import segments as segments_table
from kikitori.store.tables import task_events, task_tags, tasks
from kikitori.store.task_listing import list_tasks
from kikitori.store.task_queries import TaskPage, TaskQuery
from kikitori.store.task_queue import IS_QUEUED
from kikitori.store.task_records import (
    ACTIVE,
    FINAL,
    Checkpoint,
    NewTask,
    TaskError,
    TaskEvent,
    TaskPriority,
    TaskRecord,
    TaskResult,
    TaskStatus,
)
from kikitori.store.task_rows import (
    MAX_FILE_NAME,
    PRIORITIES,
    PRIORITY_NUMBERS,
    asked_model,
    check_task,
    checkpoint_row,
    event_of,
    event_row,
    new_record,
    new_row,
    record_of,
    segment_of,
    segment_row,
    storable,
)
from kikitori.store.task_steps import (
    CHUNK,
    add_event,
    add_status,
    change,
    end,
    forget_work,
    is_held,
    is_id,
    is_in,
    queue_again,
    row_of,
    store_text_again,
)
from kikitori.types import Segment

__all__ = ["LostTask", "TaskPage", "TaskQuery", "TaskStore"]

QUEUED = TaskStatus.QUEUED
CRASHED = TaskError(
    code="crashed",
    message="Every process that worked on this task ended in the middle of it.",
    remedy="The logs of the nodes say why; a retry starts from the beginning.",
)
EXPIRED_BATCH = 200
PART = 200
"""Segments unpacked in one go."""


# Inside of TaskStore `list` is its method.
Records: TypeAlias = list[TaskRecord]
Segments: TypeAlias = list[Segment]
Events: TypeAlias = list[TaskEvent]
Ids: TypeAlias = list[str]


class LostTask(Exception):
    """The task is not this node's any more: whatever it has still to write about it does not count."""


class TaskStore:
    """``owner`` None may see and change every task; for any other owner somebody else's task is not there."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    # By callers ----------------------------------------------------------------------------------------------------

    @retried
    async def create(self, tasks: Sequence[NewTask], *, max_queued: int = 0) -> Records:
        """All or none. A task whose owner used its idempotency key before is the task of that time.

        Raises InvalidOption; Conflict when that one asks for something else; Busy when more than ``max_queued`` would
        wait (0: any number may).
        """
        for task in tasks:
            check_task(task)
        async with self._database.write() as connection:
            known = await _known_keys(connection, tasks)
            fresh = _first_of_each(task for task in tasks if (task.owner, task.idempotency_key) not in known)
            await task_queue.check_room(connection, len(fresh), max_queued)
            made = await self._insert(connection, fresh)
            by_id = {record.id: record for record in made}
            known |= {(record.owner, record.idempotency_key): record for record in made if record.idempotency_key}
            found = [by_id.get(task.id) or known[task.owner, task.idempotency_key] for task in tasks]
            _require_same(found, tasks)
            return found

    @retried
    async def request_cancel(self, id: str, owner: str | None) -> TaskRecord:
        """A queued task ends at once; one that a node works on is asked to. Raises NotFound; Conflict when it ended."""
        async with self._database.write() as connection:
            row = await _locked(connection, id, owner)
            status = TaskStatus(row.status)
            if status.is_final:
                raise Conflict(
                    f"The task is {status.value}.", remedy="Only a task that has not ended can be cancelled."
                )
            if status is QUEUED:
                from_here = [is_id(id), is_in([QUEUED])]
                ended = await end(connection, from_here, id, TaskStatus.CANCELLED, now=self._now())
                assert ended is not None, "the row is locked"
                return ended
            if not row.cancel_requested:
                await change(connection, [is_id(id), is_in(ACTIVE)], {"cancel_requested": True})
                await add_status(connection, row, self._now(), cancel_requested=True)
            return await _record(connection, id)

    @retried
    async def retry(self, id: str, owner: str | None, *, max_queued: int = 0) -> TaskRecord:
        """Start a failed, cancelled or expired task again, from nothing. Raises NotFound, Conflict, Busy."""
        may = FINAL - {TaskStatus.SUCCEEDED}
        async with self._database.write() as connection:
            row = await _locked(connection, id, owner)
            if TaskStatus(row.status) not in may:
                raise Conflict(
                    f"The task is {row.status}.", remedy="Only a failed, cancelled or expired one can be begun again."
                )
            if row.url is None and row.media_key is None:
                raise Conflict("The recording of this task was removed.", remedy="Send it again as a new task.")
            await task_queue.check_room(connection, 1, max_queued)
            now = self._now()
            [rank] = await task_queue.ranks(connection, [(row.owner, PRIORITIES[row.priority])])
            values = _FRESH | {"rank": rank, "queued_at": now, "model": asked_model(row)}
            if row.expires_at is not None and row.expires_at <= now:
                values |= {"expires_at": None}
            await change(connection, [is_id(id), is_in(may)], values)
            await forget_work(connection, row.number)
            await add_event(
                connection, row.number, "status", {"status": QUEUED.value, "reason": "retry", "segments": 0}, now
            )
            return await _record(connection, id)

    @retried
    async def set_priority(self, id: str, owner: str | None, priority: TaskPriority) -> TaskRecord:
        """Move a queued task to the end of another class. Raises NotFound, Conflict."""
        async with self._database.write() as connection:
            row = await _locked(connection, id, owner)
            if row.status != QUEUED.value:
                raise Conflict(f"The task is {row.status}.", remedy="Only the priority of a queued one can be changed.")
            if PRIORITIES[row.priority] is not priority:
                [rank] = await task_queue.ranks(connection, [(row.owner, priority)])
                values = {"priority": PRIORITY_NUMBERS[priority], "rank": rank}
                await change(connection, [is_id(id), is_in([QUEUED])], values)
                await add_event(connection, row.number, "priority", {"priority": priority.value}, self._now())
            return await _record(connection, id)

    @retried
    async def delete(self, id: str, owner: str | None) -> TaskRecord:
        """Remove all rows of a task, whatever its state; its media are the caller's. Raises NotFound."""
        async with self._database.write() as connection:
            row = await _locked(connection, id, owner)
            await connection.execute(delete(tasks).where(tasks.c.number == row.number))
            return record_of(row)

    @retried
    async def replace_segment(self, id: str, owner: str | None, segment: Segment, *, was: str) -> bool:
        """Put ``segment`` in the place of the one with its number; False: that one does not say ``was`` any more.

        The text, what it is found by, and an event go with it. Raises NotFound; Conflict before the task has ended.
        """
        async with self._database.write() as connection:
            row = await _locked(connection, id, owner)
            if not TaskStatus(row.status).is_final:
                raise Conflict(f"The task is {row.status}.", remedy="Its text can be corrected when it has ended.")
            values = segment_row(row.number, segment)
            this = (segments_table.c.task == row.number, segments_table.c.id == segment.id)
            if storable(was) != await connection.scalar(select(segments_table.c.text).where(*this)):
                return False
            await connection.execute(update(segments_table).where(*this).values(values))
            await store_text_again(connection, row)
            await add_event(connection, row.number, "corrected", {"segment": segment.id}, self._now())
            return True

    # For readers ---------------------------------------------------------------------------------------------------

    async def get(self, id: str, owner: str | None) -> TaskRecord:
        """Raises NotFound."""
        async with self._database.read() as connection:
            return record_of(_visible(await row_of(connection, id), id, owner))

    async def result(self, id: str, owner: str | None) -> TaskResult:
        """A task and all of its segments so far. Raises NotFound."""
        async with self._database.read() as connection:
            row = _visible(await row_of(connection, id), id, owner)
            found = select(segments_table).where(segments_table.c.task == row.number).order_by(segments_table.c.id)
            segments: Segments = []
            # Ten hours of speech are much to unpack: in parts, so that others have their turn.
            async for rows in (await connection.stream(found)).partitions(PART):
                segments += map(segment_of, rows)
                await asyncio.sleep(0)  # a driver that has the next rows already does not wait
            return TaskResult(task=record_of(row), segments=tuple(segments))

    async def segments(self, id: str, *, after: int = 0, limit: int = 1000) -> Segments:
        """Those with the number ``after`` and higher."""
        number = select(tasks.c.number).where(is_id(id)).scalar_subquery()
        found = (
            select(segments_table)
            .where(segments_table.c.task == number, segments_table.c.id >= after)
            .order_by(segments_table.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [segment_of(row) for row in await connection.execute(found)]

    async def events(self, id: str, *, after: int = 0) -> Events:
        """Those after the one with the number ``after``."""
        number = select(tasks.c.number).where(is_id(id)).scalar_subquery()
        found = select(task_events).where(task_events.c.task == number, task_events.c.id > after)
        async with self._database.read() as connection:
            return [event_of(row, id) for row in await connection.execute(found.order_by(task_events.c.id))]

    async def queue_positions(self, ids: Collection[str]) -> dict[str, int]:
        """1 is next; tasks that do not wait have no position."""
        if not ids:
            return {}
        async with self._database.read() as connection:
            return await task_queue.positions(connection, list(ids))

    async def queue_counts(self) -> dict[tuple[TaskStatus, TaskPriority], int]:
        """How many wait and how many are worked on; pairs without any are left out."""
        unfinished = is_in([QUEUED, *ACTIVE])
        found = select(tasks.c.status, tasks.c.priority, func.count()).where(unfinished)
        async with self._database.read() as connection:
            rows = await connection.execute(found.group_by(tasks.c.status, tasks.c.priority))
            return {(TaskStatus(status), PRIORITIES[priority]): count for status, priority, count in rows}

    async def list(self, query: TaskQuery) -> TaskPage:
        """Raises InvalidOption."""
        async with self._database.read() as connection:
            return await list_tasks(connection, query)

    # By the node that works on a task ------------------------------------------------------------------------------

    async def claim(self, node_id: str, limit: int, *, fetched: bool | None = None) -> Records:
        """The next tasks of the queue, now this node's; what nobody began in time expires instead.

        ``fetched``: only those whose media are in the store, or only those whose are not.
        """
        async with self._database.read() as connection:
            if not await task_queue.classes(connection, fetched):
                return []
        await self.expire()
        return await self._claim(node_id, limit, fetched)

    @retried
    async def _claim(self, node_id: str, limit: int, fetched: bool | None) -> Records:
        claimed: list[TaskRecord] = []
        async with self._database.write() as connection:
            now = self._now()
            await _expire(connection, now)
            while len(claimed) < limit:
                rows = await task_queue.next_in_turn(connection, limit - len(claimed), fetched)
                if not rows:
                    break
                claimed += await _begin(connection, rows, node_id, now)
        return claimed

    @retried
    async def fetched(
        self,
        task: TaskRecord,
        *,
        media_key: str,
        media_bytes: int | None = None,
        file_name: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> TaskRecord:
        """The media are in the store now. An empty ``file_name`` keeps the caller's; ``details`` are added."""
        values: dict[str, Any] = {
            "media_key": media_key,
            "media_bytes": media_bytes,
            "fetched": True,
            "details": {**task.details, **(details or {})},
        }
        if file_name:
            values["file_name"] = storable(file_name)[:MAX_FILE_NAME]
        async with self._database.write() as connection:
            return record_of(await _held(connection, task, values))

    @retried
    async def started(
        self,
        task: TaskRecord,
        *,
        duration: float | None,
        model: str,
        engine: str,
        mode: str,
    ) -> TaskRecord:
        """Decoding begins."""
        values: dict[str, Any] = {
            "status": TaskStatus.RUNNING.value,
            "duration": duration,
            "model": model,
            "engine": engine,
            "mode": mode,
        }
        async with self._database.write() as connection:
            row = await _held(connection, task, values)
            if task.status is not TaskStatus.RUNNING:
                await add_status(connection, row, self._now())
            return record_of(row)

    @retried
    async def advance(
        self,
        task: TaskRecord,
        *,
        segments: Sequence[Segment],
        seconds_done: float,
        duration: float | None,
        checkpoint: Checkpoint | None,
        language: tuple[str, float] | None = None,
    ) -> bool:
        """Store what was decoded; True: the task shall be cancelled. A ``checkpoint`` None keeps the last one.

        ``language`` comes with its probability as soon as it is known.

        May be repeated: a commit whose answer was lost leaves the same segments as one that was seen.
        """
        values: dict[str, Any] = {"seconds_done": seconds_done}
        if duration is not None:
            values["duration"] = duration
        if checkpoint is not None:
            values["checkpoint"] = checkpoint_row(checkpoint)
        if language is not None:
            values["language"], values["language_probability"] = language
        async with self._database.write() as connection:
            row = await _held(connection, task, values)
            if segments:
                await _forget_segments(connection, row.number, segments[0].id)
                new = [segment_row(row.number, segment) for segment in segments]
                await connection.execute(insert(segments_table), new)
            return bool(row.cancel_requested)

    @retried
    async def rewind(self, task: TaskRecord) -> int:
        """Forget the segments after the checkpoint; how many stay. A task without one has none left."""
        async with self._database.write() as connection:
            row = await _held(connection, task, {"node": task.node})
            checkpoint = Checkpoint(**row.checkpoint) if row.checkpoint else Checkpoint(seconds=0.0, segments=0)
            values: dict[str, Any] = {"seconds_done": checkpoint.seconds}
            if row.checkpoint:
                values["checkpoint"] = checkpoint_row(checkpoint.taken_up())
            await _held(connection, task, values)
            if await _forget_segments(connection, row.number, checkpoint.segments):
                # Whoever follows the task has heard them.
                await add_status(connection, row, self._now(), segments=checkpoint.segments)
            return checkpoint.segments

    @retried
    async def finish(
        self,
        task: TaskRecord,
        status: TaskStatus,
        *,
        language: str | None = None,
        language_probability: float | None = None,
        duration: float | None = None,
        error: TaskError | None = None,
    ) -> TaskRecord:
        """The end: status, text, callback and event in one. ``error`` is there exactly when ``status`` is failed.

        Repeated, it says again what the first time stored.
        """
        if status not in FINAL or (error is None) == (status is TaskStatus.FAILED):
            raise ValueError(f"a task cannot end as {status} with the error {error}")
        given = {"language": language, "language_probability": language_probability, "duration": duration}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if status is TaskStatus.SUCCEEDED and (done := task.duration if duration is None else duration) is not None:
            values["seconds_done"] = done
        async with self._database.write() as connection:
            ended = await end(connection, is_held(task), task.id, status, now=self._now(), error=error, **values)
            return ended or await _ended_before(connection, task, status)

    @retried
    async def release(self, task: TaskRecord) -> None:
        """Back to the front of the queue, as if this attempt had not been: its node shuts down."""
        async with self._database.write() as connection:
            row = await _held(connection, task, {"node": task.node})
            if row.cancel_requested:
                await end(connection, is_held(task), task.id, TaskStatus.CANCELLED, now=self._now())
                return
            await queue_again(connection, row, now=self._now(), reason="released", attempts=row.attempts - 1)

    async def cancel_requested(self, ids: Collection[str]) -> set[str]:
        """Those of ``ids`` that shall be cancelled, and those that are gone."""
        asked = list(ids)
        going_on: set[str] = set()
        async with self._database.read() as connection:
            for at in range(0, len(asked), CHUNK):
                some = tasks.c.id.in_(asked[at : at + CHUNK])
                found = select(tasks.c.id).where(some, tasks.c.cancel_requested.is_(False))
                going_on.update((await connection.scalars(found)).all())
        return set(asked) - going_on

    @retried
    async def expand(
        self,
        task: TaskRecord,
        children: Sequence[NewTask],
        *,
        details: Mapping[str, Any] | None = None,
        max_queued: int = 0,
    ) -> Records:
        """A playlist: its entries become tasks, and itself is done. ``details`` are added to its own.

        Raises Busy when the queue has no room for all of them.
        """
        for child in children:
            check_task(child)
        own: dict[str, Any] = {"details": {**task.details, **(details or {})}}
        async with self._database.write() as connection:
            ended = await end(connection, is_held(task), task.id, TaskStatus.SUCCEEDED, now=self._now(), **own)
            if ended is not None:
                await task_queue.check_room(connection, len(children), max_queued)
                return await self._insert(connection, children)
            await _ended_before(connection, task, TaskStatus.SUCCEEDED)
            made = await _rows_of(connection, [child.id for child in children])
            return [record_of(made[child.id]) for child in children if child.id in made]

    # By any node -----------------------------------------------------------------------------------------------------

    async def holders(self) -> set[str]:
        """The nodes that have tasks now."""
        async with self._database.read() as connection:
            found = select(tasks.c.node).where(is_in(ACTIVE), tasks.c.node.is_not(None)).distinct()
            return set((await connection.scalars(found)).all())

    async def expire(self) -> Ids:
        """End what nobody began in time, also while nothing is claimed; the ids."""
        async with self._database.read() as connection:
            if not (await connection.execute(_late(self._now()).limit(1))).first():
                return []
        expired: list[str] = []
        while True:  # each batch by itself: a long transaction would keep everybody else from writing
            expired += (batch := await self._expire())
            if len(batch) < EXPIRED_BATCH:
                return expired

    @retried
    async def _expire(self) -> Ids:
        async with self._database.write() as connection:
            return await _expire(connection, self._now())

    async def recover(
        self,
        dead_node_ids: Collection[str],
        *,
        max_attempts: int,
        except_ids: Collection[str] = (),
        begun_before: datetime | None = None,
    ) -> Ids:
        """The tasks of nodes that died go to the front of the queue.

        Those that did so too often without getting any further fail.

        ``except_ids``, and what was not ``begun_before``, are worked on after all: a node looks this way for what it
        dropped itself. The ids of all that were changed. Several nodes may do this at once.
        """
        if not dead_node_ids:
            return []
        of_dead = [is_in(ACTIVE), tasks.c.node.in_(list(dead_node_ids))]
        if begun_before is not None:
            of_dead.append(tasks.c.started_at < begun_before)
        async with self._database.read() as connection:
            rows = (await connection.execute(select(tasks).where(*of_dead).order_by(tasks.c.number.desc()))).all()
        dropped = [row for row in rows if row.id not in set(except_ids)]
        return [row.id for row in dropped if await self._recover(record_of(row), max_attempts)]

    @retried
    async def _recover(self, task: TaskRecord, max_attempts: int) -> bool:
        async with self._database.write() as connection:
            row = (await connection.execute(select(tasks).where(*is_held(task)).with_for_update())).one_or_none()
            if row is None:
                return False
            now = self._now()
            if row.cancel_requested:
                await end(connection, is_held(task), task.id, TaskStatus.CANCELLED, now=now)
            elif _fruitless(row) >= max_attempts:
                await end(connection, is_held(task), task.id, TaskStatus.FAILED, now=now, error=CRASHED)
            else:
                await queue_again(connection, row, now=now, reason="recovered", attempts=row.attempts)
            return True

    async def _insert(self, connection: AsyncConnection, new: Sequence[NewTask]) -> Records:
        if not new:
            return []
        now = self._now()
        ranks = await task_queue.ranks(connection, [(task.owner, task.priority) for task in new])
        rows = [new_row(task, now=now, rank=rank) for task, rank in zip(new, ranks, strict=True)]
        await connection.execute(insert(tasks), rows)
        numbers = {id: row.number for id, row in (await _rows_of(connection, [task.id for task in new])).items()}
        queued = {"status": QUEUED.value}
        events = [event_row(numbers[task.id], "status", queued, now) for task in new]
        await connection.execute(insert(task_events), events)
        tags = [
            {"tag": tag, "task": numbers[task.id], "owner": task.owner}
            for task in new
            for tag in dict.fromkeys(task.tags)
        ]
        if tags:
            await connection.execute(insert(task_tags), tags)
        return [new_record(task, now=now) for task in new]


_FRESH: dict[str, Any] = {
    "status": QUEUED.value,
    "attempts": 0,
    "node": None,
    "cancel_requested": False,
    "started_at": None,
    "finished_at": None,
    "duration": None,
    "seconds_done": 0.0,
    "language": "",
    "language_probability": 0.0,
    "engine": "",
    "mode": "",
    "error": None,
    "checkpoint": None,
}
"""A task before anybody began it."""


def _fruitless(row: Row[Any]) -> int:
    """How many attempts there were since one that got on with the task."""
    return int(row.attempts) - (Checkpoint(**row.checkpoint).attempt if row.checkpoint else 0)


async def _begin(connection: AsyncConnection, rows: Sequence[Row[Any]], node_id: str, now: datetime) -> Records:
    numbers = [row.number for row in rows]
    these = tasks.c.number.in_(numbers)
    values = {
        "status": TaskStatus.FETCHING.value,
        "node": node_id,
        "attempts": tasks.c.attempts + 1,
        "started_at": now,
        "rank": None,
    }
    await change(connection, [these, is_in([QUEUED])], values)
    begun = {row.number: row for row in await connection.execute(select(tasks).where(these))}
    data = {"status": TaskStatus.FETCHING.value, "node": node_id}
    events = [event_row(number, "status", data | {"attempt": begun[number].attempts}, now) for number in numbers]
    await connection.execute(insert(task_events), events)
    return [record_of(begun[number]) for number in numbers]


async def _known_keys(connection: AsyncConnection, new: Sequence[NewTask]) -> dict[tuple[str, str | None], TaskRecord]:
    """The tasks that were made with the idempotency keys of ``new`` before."""
    by_owner: dict[str, list[str]] = {}
    for task in new:
        if task.idempotency_key:
            by_owner.setdefault(task.owner, []).append(task.idempotency_key)
    known: dict[tuple[str, str | None], TaskRecord] = {}
    for owner, keys in by_owner.items():
        for at in range(0, len(keys), CHUNK):
            with_key = tasks.c.idempotency_key.in_(keys[at : at + CHUNK])
            rows = await connection.execute(select(tasks).where(tasks.c.owner == owner, with_key))
            known |= {(owner, row.idempotency_key): record_of(row) for row in rows}
    return known


def _first_of_each(new: Iterable[NewTask]) -> list[NewTask]:
    """Without those that repeat the idempotency key of an earlier one."""
    found: dict[object, NewTask] = {}
    for task in new:
        found.setdefault((task.owner, task.idempotency_key) if task.idempotency_key else task.id, task)
    return list(found.values())


def _require_same(found: Iterable[TaskRecord], asked: Iterable[NewTask]) -> None:
    """An idempotency key stands for one request; raises Conflict when it comes with another one."""
    for record, new in zip(found, asked, strict=True):
        if record.id != new.id and not record.asks_for_the_same(new):
            raise Conflict(
                f"The idempotency key is that of the task {record.id}, which asks for something else.",
                remedy="Use a new key for a new task.",
                param="idempotency_key",
            )


async def _locked(connection: AsyncConnection, id: str, owner: str | None) -> Row[Any]:
    """The row, which nobody else changes before the end of the transaction."""
    found = select(tasks).where(is_id(id)).with_for_update()
    return _visible((await connection.execute(found)).one_or_none(), id, owner)


def _visible(row: Row[Any] | None, id: str, owner: str | None) -> Row[Any]:
    if row is None or (owner is not None and row.owner != owner):
        shown = id if len(id) <= 60 else id[:59] + "…"
        raise NotFound(f"There is no task {shown!r}.", remedy="GET /api/tasks lists those that are here.")
    return row


async def _record(connection: AsyncConnection, id: str) -> TaskRecord:
    return record_of((await connection.execute(select(tasks).where(is_id(id)))).one())


async def _held(connection: AsyncConnection, task: TaskRecord, values: Mapping[str, Any]) -> Row[Any]:
    """Write ``values`` if the task is still this node's; raises LostTask."""
    row = await row_of(connection, task.id) if await change(connection, is_held(task), values) else None
    if row is None:
        raise LostTask(task.id)
    return row


async def _ended_before(connection: AsyncConnection, task: TaskRecord, status: TaskStatus) -> TaskRecord:
    """What an earlier try of the same end stored; raises LostTask when it was not this node's."""
    same = (is_id(task.id), tasks.c.node == task.node, tasks.c.attempts == task.attempts, is_in([status]))
    row = (await connection.execute(select(tasks).where(*same))).one_or_none()
    if row is None:
        raise LostTask(task.id)
    return record_of(row)


async def _forget_segments(connection: AsyncConnection, number: int, first: int) -> int:
    these = (segments_table.c.task == number, segments_table.c.id >= first)
    return int((await connection.execute(delete(segments_table).where(*these))).rowcount)


async def _rows_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for at in range(0, len(ids), CHUNK):
        rows = await connection.execute(select(tasks).where(tasks.c.id.in_(ids[at : at + CHUNK])))
        found |= {row.id: row for row in rows}
    return found


def _late(now: datetime) -> Select[Any]:
    return select(tasks).where(IS_QUEUED, tasks.c.expires_at <= now)


async def _expire(connection: AsyncConnection, now: datetime) -> list[str]:
    """A batch of those that nobody began in time."""
    late = _late(now).limit(EXPIRED_BATCH).with_for_update(skip_locked=True)
    rows = (await connection.execute(late)).all()
    for row in rows:
        queued = [tasks.c.number == row.number, is_in([QUEUED])]
        await end(connection, queued, row.id, TaskStatus.EXPIRED, now=now)
    return [row.id for row in rows]
