"""The statements behind a list of tasks.

A page is read in two steps: first the numbers of its tasks, from indexes alone, then the tasks. Numbers rise as tasks
are created, and every index of a filter ends with them, so the first step sorts nothing: an order is a chain of groups,
and a group is merged from parts, each of them a stretch of one index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Row,
    Select,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.visitors import replacement_traverse

from kikitori.store.search import Term, owner_term, query_terms
from kikitori.store.tables import task_tags, tasks
from kikitori.store.task_queries import Place, TaskPage, TaskQuery, TaskSort, check_query, cursor_of, place_of
from kikitori.store.task_records import TaskPriority, TaskRecord, TaskStatus
from kikitori.store.task_rows import PRIORITY_NUMBERS, record_of
from kikitori.store.task_search import has_terms, index_of

TOTAL_BOUND = 10_000
"""More tasks than this are not counted."""
CLOCK_SKEW = timedelta(minutes=10)
"""How much the clocks of nodes may differ, and still each task is found by its time."""

NULLABLE = {TaskSort.FINISHED_AT: tasks.c.finished_at, TaskSort.DURATION: tasks.c.duration}
TIMES = frozenset({tasks.c.created_at, tasks.c.finished_at})
RISING_PRIORITIES = (TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.HIGH)

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tasks that follow each other in an order. Empty: of any status, of any priority."""

    statuses: tuple[TaskStatus, ...] = ()
    priorities: tuple[TaskPriority, ...] = ()
    column: Column[Any] | None = None
    """What orders them before their number does."""
    is_null: bool = False
    """Those whose ``column`` is not known, instead of all others."""


async def list_tasks(connection: AsyncConnection, query: TaskQuery) -> TaskPage:
    """Raises InvalidOption."""
    check_query(query)
    after = place_of(query)
    groups = _groups(query)
    listing = _Listing(connection, query)
    if not groups or listing.is_empty:
        return TaskPage(tasks=(), total=0, total_is_exact=True, has_more=False, next=None)
    await listing.find_bounds()
    total = await listing.count(TOTAL_BOUND + 1)
    places = await listing.places(groups, after, few=total <= TOTAL_BOUND)
    has_more, places = len(places) > query.limit, places[: query.limit]
    return TaskPage(
        tasks=await _records(connection, places, query.owner),
        total=min(total, TOTAL_BOUND),
        total_is_exact=total <= TOTAL_BOUND,
        has_more=has_more,
        next=cursor_of(query, places[-1]) if has_more else None,
    )


async def _records(connection: AsyncConnection, places: Sequence[Place], owner: str | None) -> tuple[TaskRecord, ...]:
    these = select(tasks).where(tasks.c.number.in_([place.number for place in places]))
    found = {row.number: record_of(row) for row in await connection.execute(these) if owner in (None, row.owner)}
    return tuple(found[place.number] for place in places if place.number in found)


def _groups(query: TaskQuery) -> list[Group]:
    """The order of ``query``; nothing: no task can be meant."""
    statuses, priorities = _asked_statuses(query), _each(query.priorities, RISING_PRIORITIES)
    if statuses is None:
        return []
    whole = Group(statuses=statuses, priorities=priorities)
    match query.sort:
        case TaskSort.CREATED_AT:
            rising = [whole]
        case TaskSort.STATUS:
            rising = [replace(whole, statuses=(status,)) for status in statuses or TaskStatus]
        case TaskSort.PRIORITY:
            rising = [replace(whole, priorities=(priority,)) for priority in priorities or RISING_PRIORITIES]
        case TaskSort.FINISHED_AT | TaskSort.DURATION:
            known = replace(whole, column=NULLABLE[query.sort])
            rising = [replace(known, is_null=True), known]
    return rising[::-1] if query.descending else rising


def _asked_statuses(query: TaskQuery) -> tuple[TaskStatus, ...] | None:
    """Empty: any; None: no status fits. Only what failed has an error."""
    asked = _each(query.statuses, tuple(TaskStatus))
    if query.has_error is None:
        return asked
    fit = [status for status in asked or TaskStatus if (status is TaskStatus.FAILED) is query.has_error]
    return tuple(fit) or None


def _each(asked: Iterable[Choice], order: Sequence[Choice]) -> tuple[Choice, ...]:
    """What was asked for, in order; empty for all of them."""
    chosen = set(asked)
    return () if len(chosen) == len(order) else tuple(value for value in order if value in chosen)


class _Listing:
    def __init__(self, connection: AsyncConnection, query: TaskQuery) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._query = query
        self._terms = query_terms(query.text)
        self.is_empty = bool(query.text.strip()) and not self._terms
        self._filters = _filters(query)

    async def find_bounds(self) -> None:
        """What a time of creation says about numbers, so that each index can be cut there."""
        query = self._query
        if query.created_after is not None:
            await self._bound_below(query.created_after)
        ends = [time for time in (query.created_before, query.finished_before) if time is not None]
        if ends:
            await self._bound_above(min(ends))

    async def _bound_below(self, time: datetime) -> None:
        found = select(tasks.c.number).where(tasks.c.created_at < time - CLOCK_SKEW)
        latest = found.order_by(tasks.c.created_at.desc(), tasks.c.number.desc()).limit(1)
        if (number := await self._connection.scalar(latest)) is not None:
            self._filters.append(tasks.c.number > number)

    async def _bound_above(self, time: datetime) -> None:
        found = select(tasks.c.number).where(tasks.c.created_at >= time + CLOCK_SKEW)
        earliest = found.order_by(tasks.c.created_at, tasks.c.number).limit(1)
        if (number := await self._connection.scalar(earliest)) is not None:
            self._filters.append(tasks.c.number < number)

    async def count(self, bound: int) -> int:
        """How many there are on all pages; ``bound`` when it is that many or more."""
        whole = Group(statuses=_asked_statuses(self._query) or (), priorities=self._query.priorities)
        return await self._count_of(whole, bound)

    async def _count_of(self, group: Group, bound: int) -> int:
        statement, number = self._select(group, in_order=False)
        found = statement.with_only_columns(number).limit(bound).subquery()
        return (await self._connection.scalar(select(func.count()).select_from(found))) or 0

    async def places(self, groups: Sequence[Group], after: Place | None, *, few: bool) -> list[Place]:
        """A page and one more. ``few``: there are so few in all that they are better sorted than looked for."""
        found: list[Place] = []
        skip = self._query.offset
        for number, group in enumerate(groups):
            wanted = self._query.limit + 1 - len(found)
            if wanted <= 0:
                break
            if after is not None and number < after.group:
                continue
            here = after if after is not None and number == after.group else None
            rows = await self._rows(group, here, skip, wanted, few=few)
            found += [Place(group=number, value=row.value, number=row.number) for row in rows]
            if skip:
                skip = 0 if rows else skip - await self._count_of(group, skip)
        return found

    async def _rows(self, group: Group, after: Place | None, skip: int, wanted: int, *, few: bool) -> list[Row[Any]]:
        parts = [self._page(part, after, few=few) for part in self._parts(group)]
        if len(parts) == 1:
            return list(await self._connection.execute(parts[0].offset(skip).limit(wanted)))
        each = [select(part.limit(skip + wanted).subquery()) for part in parts]
        merged = union_all(*each).subquery()
        statement = select(merged).order_by(self._directed(merged.c.number)).offset(skip).limit(wanted)
        return list(await self._connection.execute(statement))

    def _parts(self, group: Group) -> list[Group]:
        """Stretches of one index in the order of numbers: one status or priority each, where several are asked for."""
        if group.column is not None or self._query.tag or self._terms:
            return [group]
        if group.statuses:
            return [replace(group, statuses=(status,)) for status in group.statuses]
        return [replace(group, priorities=(priority,)) for priority in group.priorities] or [group]

    def _page(self, group: Group, after: Place | None, *, few: bool) -> Select[Any]:
        statement, number = self._select(group, in_order=not few)
        value: ColumnElement[Any] = literal(None) if group.column is None else group.column
        statement = statement.with_only_columns(number.label("number"), value.label("value"))
        if after is not None:
            statement = statement.where(self._is_behind(group, number, after))
        order = [number] if group.column is None else [group.column, number]
        return statement.order_by(*map(self._directed, order))

    def _select(self, group: Group, *, in_order: bool) -> tuple[Select[Any], ColumnElement[int]]:
        """The tasks of ``group`` that pass all filters, and their number.

        ``in_order``: along the index of the order, however few pass.
        """
        found, conditions = self._found_elsewhere(), [*self._filters, *_conditions(group)]
        if in_order and group.column is not None:
            conditions += [exists().where(number == tasks.c.number, *tests) for _, number, tests in found]
            return self._along(group.column, conditions), tasks.c.number
        if not found:
            tests, times = _parted(conditions, TIMES if in_order else frozenset())
            return select(tasks.c.number).where(*self._of_owner(), *tests, *self._without_index(times)), tasks.c.number
        source, first, _ = found[0]
        for table, number, _ in found[1:]:
            source = source.join(table, number == first)
        if conditions or group.column is not None:
            source = source.join(tasks, tasks.c.number == first)
        tests = [test for _, _, some in found for test in some]
        return select(first).select_from(source).where(*tests, *self._without_index(conditions)), first

    def _along(self, column: Column[Any], conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
        name = f"ix_tasks_{'owner_' if self._query.owner is not None else ''}{column.name}"
        others, own = _parted(conditions, frozenset({column}))
        statement = select(tasks.c.number).where(*self._of_owner(), *own, *self._without_index(others))
        return statement.with_hint(tasks, f"FORCE INDEX ({name})", "mysql")

    def _of_owner(self) -> list[ColumnElement[bool]]:
        return [] if self._query.owner is None else [tasks.c.owner == self._query.owner]

    def _without_index(self, conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
        """SQLite knows little of how values are spread: it is told which of its indexes would lead astray."""
        if self._dialect != "sqlite":
            return list(conditions)
        return [replacement_traverse(test, {}, _without_index) for test in conditions]

    def _found_elsewhere(self) -> list[tuple[FromClause, ColumnElement[int], list[ColumnElement[bool]]]]:
        """Tables that say which tasks have the tag and the words."""
        query = self._query
        found: list[tuple[FromClause, ColumnElement[int], list[ColumnElement[bool]]]] = []
        if query.tag:
            tagged: list[ColumnElement[bool]] = [task_tags.c.tag == query.tag]
            tagged += [task_tags.c.owner == query.owner] if query.owner is not None else []
            found.append((task_tags, task_tags.c.task, tagged))
        if self._terms:
            owned = [Term(owner_term(query.owner))] if query.owner is not None else []
            index, number = index_of(self._dialect)
            found.append((index, number, [has_terms(self._dialect, [*self._terms, *owned])]))
        return found

    def _is_behind(self, group: Group, number: ColumnElement[int], place: Place) -> ColumnElement[bool]:
        down = self._query.descending
        behind = number < place.number if down else number > place.number
        if group.column is None or group.is_null:
            return behind
        column = group.column
        # Said twice, because MySQL cuts its index only by a condition on one column.
        if down:
            return and_(column <= place.value, or_(column < place.value, behind))
        return and_(column >= place.value, or_(column > place.value, behind))

    def _directed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column.desc() if self._query.descending else column.asc()


def _filters(query: TaskQuery) -> list[ColumnElement[bool]]:
    """All but owner, status, priority, tag and text."""
    equal = {
        tasks.c.language: query.language,
        tasks.c.engine: query.engine,
        tasks.c.model: query.model,
        tasks.c.platform: query.platform,
    }
    filters = [column == value for column, value in equal.items() if value is not None]
    if query.created_after is not None:
        filters.append(tasks.c.created_at >= query.created_after)
    if query.created_before is not None:
        filters.append(tasks.c.created_at < query.created_before)
    if query.finished_after is not None:
        filters.append(tasks.c.finished_at >= query.finished_after)
    if query.finished_before is not None:
        filters.append(tasks.c.finished_at < query.finished_before)
    return filters


def _conditions(group: Group) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if group.statuses:
        conditions.append(tasks.c.status.in_([status.value for status in group.statuses]))
    if group.priorities:
        conditions.append(tasks.c.priority.in_([PRIORITY_NUMBERS[priority] for priority in group.priorities]))
    if group.column is not None:
        conditions.append(group.column.is_(None) if group.is_null else group.column.is_not(None))
    return conditions


def _parted(
    conditions: Sequence[ColumnElement[bool]], columns: frozenset[Column[Any]]
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Those that are not about ``columns``, and those that are."""
    others: list[ColumnElement[bool]] = []
    own: list[ColumnElement[bool]] = []
    for test in conditions:
        (others if columns.isdisjoint(test.get_children()) else own).append(test)
    return others, own


def _without_index(element: Any, **more: Any) -> Any:
    """A column behind a plus is a value like any other."""
    if isinstance(element, Column) and element.table is tasks:
        return UnaryExpression(element, operator=custom_op("+"), type_=element.type)
    return None
