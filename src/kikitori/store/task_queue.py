"""The order of the queue: who is next, who waits where, and how many wait.

A class of priority goes first when its oldest task has used up its patience the most; within a class owners take turns,
by ``rank``. These are statements of one transaction; ``tasks.TaskStore`` opens it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.errors import Busy
from kikitori.store.tables import tasks
from kikitori.store.task_records import TaskPriority
from kikitori.store.task_rows import PRIORITY_NUMBERS

PATIENCE = {
    TaskPriority.HIGH: timedelta(0),
    TaskPriority.NORMAL: timedelta(minutes=10),
    TaskPriority.LOW: timedelta(minutes=60),
}
"""A task counts as waiting from then on: a high one goes before a normal one that came less than 10 minutes earlier."""
MAX_POSITION = 100_000
"""Counting further would take longer than the answer is worth."""
MAX_BETWEEN = 2_000
"""Tasks of a class that are looked at one by one."""
MAX_COLUMNS = 500
"""Of one statement; each database allows a few more."""

FULL_RETRY_SECONDS = 30.0

IS_QUEUED = tasks.c.rank.is_not(None)
"""What the indexes of the queue hold; the status of these is ``queued``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueClass:
    """What waits with one priority."""

    priority: TaskPriority
    oldest: datetime

    @property
    def due(self) -> datetime:
        return self.oldest + PATIENCE[self.priority]


async def classes(connection: AsyncConnection, fetched: bool | None = None) -> list[QueueClass]:
    """Those in which somebody waits, the next one first; ``fetched`` as for ``next_in_turn``."""
    oldest = await _least(connection, tasks.c.queued_at, fetched)
    found = [QueueClass(priority=priority, oldest=time) for priority, time in oldest.items()]
    return sorted(found, key=lambda entry: entry.due)


async def next_in_turn(connection: AsyncConnection, limit: int, fetched: bool | None = None) -> list[Row[Any]]:
    """The next tasks, at most ``limit``, locked; none: nobody waits, or other nodes are taking those who do.

    ``fetched``: only those whose media are in the store, or only those whose are not.
    """
    waiting = await classes(connection, fetched)
    for entry in waiting:
        # Each task that goes may change whose turn it is, unless there is one class only.
        wanted = limit if len(waiting) == 1 else 1
        first = select(tasks).where(*_of_class(entry.priority, fetched)).order_by(tasks.c.rank, tasks.c.number)
        found = list(await connection.execute(first.limit(wanted).with_for_update(skip_locked=True)))
        if found:
            return found
    return []


async def ranks(connection: AsyncConnection, waiters: Iterable[tuple[str, TaskPriority]]) -> list[int]:
    """Places at the end of the queue for tasks of these owners: behind the owner's last, or else beside the first.

    So everybody's first task is about as near as anybody else's next one.
    """
    wanted = list(waiters)
    first = await _least(connection, tasks.c.rank)
    last = await _last_ranks(connection, list(dict.fromkeys(wanted)))
    places: list[int] = []
    for owner, priority in wanted:
        place = max(0, first.get(priority, 0), last.get((owner, priority), 0)) + 1
        last[owner, priority] = place
        places.append(place)
    return places


async def front_rank(connection: AsyncConnection, priority: TaskPriority) -> int:
    """A place before everybody of the class."""
    first = await _least(connection, tasks.c.rank)
    return int(first.get(priority, 1)) - 1


async def count_queued(connection: AsyncConnection, bound: int) -> int:
    """How many wait; ``bound`` when it is that many or more."""
    waiting = select(tasks.c.number).where(IS_QUEUED).limit(bound).subquery()
    return (await connection.scalar(select(func.count()).select_from(waiting))) or 0


async def check_room(connection: AsyncConnection, more: int, max_queued: int) -> None:
    """Raises Busy when ``more`` tasks would be too many (0: any number may wait)."""
    if not max_queued or not more:
        return
    waiting = await count_queued(connection, max_queued + 1)
    if waiting + more > max_queued:
        room = f"The queue is full: {waiting} tasks wait"
        raise Busy(
            f"{room}." if more == 1 else f"{room}, and {more} more are too many.", retry_after=FULL_RETRY_SECONDS
        )


async def positions(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    """The place of each in the queue as it stands, 1 for the next.

    Tasks that do not wait have none, and those behind more than ``MAX_POSITION`` others are not told theirs.
    """
    columns = (tasks.c.id, tasks.c.priority, tasks.c.rank, tasks.c.number)
    wanted = select(*columns).where(IS_QUEUED, tasks.c.id.in_(ids)).order_by(tasks.c.rank, tasks.c.number)
    rows = (await connection.execute(wanted)).all()
    found: dict[str, int] = {}
    before = told = 0
    for entry in await classes(connection):
        of_class = [row for row in rows if row.priority == PRIORITY_NUMBERS[entry.priority]]
        if of_class:
            places = await _places(connection, entry.priority, of_class)
            found |= {id: before + place for id, place in places.items() if before + place <= MAX_POSITION}
            told += len(of_class)
        if told == len(rows):
            break
        before += await _count(connection, entry.priority)
    return found


async def _places(connection: AsyncConnection, priority: TaskPriority, rows: Sequence[Any]) -> dict[str, int]:
    """Places within the class: those before the first of ``rows`` are counted, those between them looked at."""
    first = await _count(connection, priority, tasks.c.rank < rows[0].rank)
    between: list[tuple[int, int]] = []
    for fetched in (False, True):  # each is a stretch of the index
        stretch = [*_of_class(priority, fetched), tasks.c.rank.between(rows[0].rank, rows[-1].rank)]
        near = select(tasks.c.rank, tasks.c.number).where(*stretch).order_by(tasks.c.rank, tasks.c.number)
        between += [(rank, number) for rank, number in await connection.execute(near.limit(MAX_BETWEEN))]
    if len(between) < MAX_BETWEEN:
        between.sort()
        return {row.id: first + bisect_left(between, (row.rank, row.number)) + 1 for row in rows}
    found: dict[str, int] = {}
    for row in rows:  # far apart: seldom, and each is a count of its own
        before = await _count(connection, priority, tasks.c.rank < row.rank)
        same = await _count(connection, priority, tasks.c.rank == row.rank, tasks.c.number <= row.number)
        found[row.id] = before + same
    return found


async def _count(connection: AsyncConnection, priority: TaskPriority, *conditions: ColumnElement[bool]) -> int:
    """How many of a class wait, no further than a place is told."""
    total = 0
    for fetched in (False, True):
        some = select(tasks.c.number).where(*_of_class(priority, fetched), *conditions)
        count = select(func.count()).select_from(some.limit(MAX_POSITION + 1).subquery())
        total += (await connection.scalar(count)) or 0
    return total


async def _least(
    connection: AsyncConnection, column: Column[Any], fetched: bool | None = None
) -> dict[TaskPriority, Any]:
    """The smallest value of each class that is not empty: one look at the beginning of an index for each."""
    keys = [(priority, lane) for priority in PATIENCE for lane in ((False, True) if fetched is None else (fetched,))]
    columns = [select(func.min(column)).where(*_of_class(*key)).scalar_subquery() for key in keys]
    row = (await connection.execute(select(*columns))).one()
    found: dict[TaskPriority, Any] = {}
    for (priority, _), value in zip(keys, row, strict=True):
        if value is not None:
            found[priority] = min(value, found.get(priority, value))
    return found


async def _last_ranks(
    connection: AsyncConnection, pairs: Sequence[tuple[str, TaskPriority]]
) -> dict[tuple[str, TaskPriority], int]:
    found: dict[tuple[str, TaskPriority], int] = {}
    for at in range(0, len(pairs), MAX_COLUMNS):
        some = pairs[at : at + MAX_COLUMNS]
        columns = [
            select(func.max(tasks.c.rank)).where(*_of_class(priority), tasks.c.owner == owner).scalar_subquery()
            for owner, priority in some
        ]
        row = (await connection.execute(select(*columns))).one()
        found |= {pair: rank for pair, rank in zip(some, row, strict=True) if rank is not None}
    return found


def _of_class(priority: TaskPriority, fetched: bool | None = None) -> list[ColumnElement[bool]]:
    conditions = [IS_QUEUED, tasks.c.priority == PRIORITY_NUMBERS[priority]]
    return conditions if fetched is None else [*conditions, tasks.c.fetched == fetched]
