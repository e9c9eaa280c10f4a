"""The statements behind a list of tasks.

A page is read in two steps: first the numbers of its tasks, from indexes alone, then the tasks. Numbers rise as tasks
are created, and every index of a filter ends with them, so the first step sorts nothing: an order is a chain of groups,
and a group is merged from parts, each of them a stretch of one index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from kikitori.store.search import Term, owner_term, query_terms
from kikitori.store.tables import task_tags, tasks, transcripts
from kikitori.store.task_filters import TIMES, Group, conditions_of, filters_of, parted, without_index
from kikitori.store.task_queries import Place, TaskPage, TaskQuery, TaskSort, check_query, cursor_of, place_of
from kikitori.store.task_records import TaskPriority, TaskRecord, TaskStatus
from kikitori.store.task_rows import record_of
from kikitori.store.task_search import MAX_TESTED, SAMPLE, has_terms, index_of, may_test_each, prepare_search

TOTAL_BOUND = 10_000
"""More tasks than this are not counted."""
SEARCH_BOUND = 1_000
"""The same of a search in PostgreSQL: its index of words alone does not say which tasks are still there."""
CLOCK_SKEW = timedelta(minutes=10)
"""How much the clocks of nodes may differ, and still each task is found by its time."""

NULLABLE = {TaskSort.FINISHED_AT: tasks.c.finished_at, TaskSort.DURATION: tasks.c.duration}
RISING_PRIORITIES = (TaskPriority.LOW, TaskPriority.NORMAL, TaskPriority.HIGH)

Choice = TypeVar("Choice", bound=StrEnum)
Elsewhere: TypeAlias = tuple[FromClause, ColumnElement[int], list[ColumnElement[bool]]]
"""Another table, its column of the tasks' numbers, and conditions on it."""


async def list_tasks(connection: AsyncConnection, query: TaskQuery) -> TaskPage:
    """Raises InvalidOption."""
    check_query(query)
    after = place_of(query)
    groups = _groups(query)
    listing = _Listing(connection, query)
    if not groups or listing.is_empty:
        return TaskPage(tasks=(), total=0, total_is_exact=True, has_more=False, next=None)
    bound = min(TOTAL_BOUND, SEARCH_BOUND) if listing.may_test_each else TOTAL_BOUND
    await listing.prepare()
    total = await listing.count(bound + 1)
    places = await listing.places(groups, after, few=total <= bound) if total else []
    has_more, places = len(places) > query.limit, places[: query.limit]
    return TaskPage(
        tasks=await _records(connection, places, query.owner),
        total=min(total, bound),
        total_is_exact=total <= bound,
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
        self.may_test_each = bool(self._terms) and may_test_each(self._dialect)
        self.is_empty = bool(query.text.strip()) and not self._terms
        self._filters = filters_of(query)
        self._tests_each = False
        """Each task that passes the other filters is tested for the words."""
        self._hits: list[int] | None = None
        """All tasks that were found, where these are few."""

    async def prepare(self) -> None:
        """Among others, find what a time of creation says about numbers, so that each index can be cut there."""
        query = self._query
        if self.may_test_each:
            await prepare_search(self._connection)
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
        return await (self._search(whole, bound) if self.may_test_each else self._count_of(whole, bound))

    async def _search(self, whole: Group, bound: int) -> int:
        """How many there are, up to ``bound``. If fewer, they are kept, since a search for rare words is not cheap."""
        self._tests_each = await self._is_better_tested(whole, bound)
        statement, number = self._select(whole, in_order=False)
        found = list(await self._connection.scalars(statement.with_only_columns(number).limit(bound)))
        self._hits = found if len(found) < bound else None
        return len(found)

    async def _is_better_tested(self, whole: Group, bound: int) -> bool:
        """Whether few tasks pass the other filters, or many of these have the words.

        Databases know neither how many tasks pass several filters, nor which words go with them.
        """
        query = self._query
        is_filtered = query.owner is not None or query.tag or self._filters or conditions_of(whole)
        if not is_filtered:
            return False
        passing, number = self._select_from(self._tagged(), whole, in_order=True)
        passing = passing.with_only_columns(number.label("task"))
        some = passing.limit(MAX_TESTED).subquery()
        newest = passing.order_by(number.desc()).limit(SAMPLE).subquery()
        heard = newest.join(transcripts, transcripts.c.task == newest.c.task)
        counts = select(
            select(func.count()).select_from(some).scalar_subquery().label("passing"),
            select(func.count()).select_from(heard).where(self._has_words()).scalar_subquery().label("hits"),
        )
        row = (await self._connection.execute(counts)).one()
        return bool(row.passing < MAX_TESTED or row.hits * MAX_TESTED > bound * SAMPLE)

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
        is_one = self._query.tag or (self._terms and not self._tests_each) or self._hits is not None
        if group.column is not None or is_one:
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
        if self._hits is not None:
            return select(tasks.c.number).where(_is_one_of(self._hits), *conditions_of(group)), tasks.c.number
        if not self._tests_each:
            return self._select_from([*self._tagged(), *self._worded()], group, in_order=in_order)
        statement, number = self._select_from(self._tagged(), group, in_order=in_order)
        # A value, not EXISTS: that one is taken for a join, with more transcripts tested than there are tasks.
        heard = select(self._has_words()).where(transcripts.c.task == number).correlate_except(transcripts)
        return statement.where(heard.scalar_subquery()), number

    def _select_from(
        self, found: Sequence[Elsewhere], group: Group, *, in_order: bool
    ) -> tuple[Select[Any], ColumnElement[int]]:
        conditions = [*self._filters, *conditions_of(group)]
        if in_order and group.column is not None:
            conditions += [exists().where(number == tasks.c.number, *tests) for _, number, tests in found]
            return self._along(group.column, conditions), tasks.c.number
        if not found:
            tests, times = parted(conditions, TIMES if in_order else frozenset())
            return select(tasks.c.number).where(*self._of_owner(), *tests, *self._plain(times)), tasks.c.number
        source, first, _ = found[0]
        for table, number, _ in found[1:]:
            source = source.join(table, number == first)
        if conditions or group.column is not None:
            source = source.join(tasks, tasks.c.number == first)
        tests = [test for _, _, some in found for test in some]
        return select(first).select_from(source).where(*tests, *self._plain(conditions)), first

    def _along(self, column: Column[Any], conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
        name = f"ix_tasks_{'owner_' if self._query.owner is not None else ''}{column.name}"
        others, own = parted(conditions, frozenset({column}))
        statement = select(tasks.c.number).where(*self._of_owner(), *own, *self._plain(others))
        return statement.with_hint(tasks, f"FORCE INDEX ({name})", "mysql")

    def _of_owner(self) -> list[ColumnElement[bool]]:
        return [] if self._query.owner is None else [tasks.c.owner == self._query.owner]

    def _plain(self, conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
        return without_index(self._dialect, conditions)

    def _has_words(self) -> ColumnElement[bool]:
        return has_terms(self._dialect, self._terms)

    def _tagged(self) -> list[Elsewhere]:
        """Where it is said which tasks have the tag."""
        query = self._query
        if not query.tag:
            return []
        owned = [task_tags.c.owner == query.owner] if query.owner is not None else []
        return [(task_tags, task_tags.c.task, [task_tags.c.tag == query.tag, *owned])]

    def _worded(self) -> list[Elsewhere]:
        """Where it is said which tasks have the words."""
        if not self._terms:
            return []
        owned = [Term(owner_term(self._query.owner))] if self._query.owner is not None else []
        index, number = index_of(self._dialect)
        return [(index, number, [has_terms(self._dialect, [*self._terms, *owned])])]

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


def _is_one_of(numbers: Sequence[int]) -> ColumnElement[bool]:
    # In the text of the statement: a thousand parameters take longer than all the rest.
    return tasks.c.number.in_(bindparam("numbers", numbers, expanding=True, literal_execute=True))
