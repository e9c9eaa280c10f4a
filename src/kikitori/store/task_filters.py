"""Filters of a list of tasks as conditions of SQL. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.visitors import replacement_traverse

from kikitori.store.tables import tasks
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import TaskPriority, TaskStatus
from kikitori.store.task_rows import PRIORITY_NUMBERS

TIMES = frozenset({tasks.c.created_at, tasks.c.finished_at})


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tasks that follow each other in an order. Empty: of any status, of any priority."""

    statuses: tuple[TaskStatus, ...] = ()
    priorities: tuple[TaskPriority, ...] = ()
    column: Column[Any] | None = None
    """What orders them before their number does."""
    is_null: bool = False
    """Those whose ``column`` is not known, instead of all others."""


def filters_of(query: TaskQuery) -> list[ColumnElement[bool]]:
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


def conditions_of(group: Group) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if group.statuses:
        conditions.append(tasks.c.status.in_([status.value for status in group.statuses]))
    if group.priorities:
        conditions.append(tasks.c.priority.in_([PRIORITY_NUMBERS[priority] for priority in group.priorities]))
    if group.column is not None:
        conditions.append(group.column.is_(None) if group.is_null else group.column.is_not(None))
    return conditions


def parted(
    conditions: Sequence[ColumnElement[bool]], columns: frozenset[Column[Any]]
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Those that are not about ``columns``, and those that are."""
    others: list[ColumnElement[bool]] = []
    own: list[ColumnElement[bool]] = []
    for test in conditions:
        (others if columns.isdisjoint(test.get_children()) else own).append(test)
    return others, own


def without_index(dialect: str, conditions: Sequence[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """SQLite knows little of how values are spread: it is told which of its indexes would lead astray."""
    if dialect != "sqlite":
        return list(conditions)
    return [replacement_traverse(test, {}, _plain) for test in conditions]


def _plain(element: Any, **more: Any) -> Any:
    """A column behind a plus is a value like any other."""
    if isinstance(element, Column) and element.table is tasks:
        return UnaryExpression(element, operator=custom_op("+"), type_=element.type)
    return None
