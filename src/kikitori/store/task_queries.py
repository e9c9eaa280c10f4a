"""Lists of tasks as they are asked for: filters, order, pages, cursors. Pure; ``task_listing`` has the statements."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from kikitori.errors import InvalidOption
from kikitori.store.task_records import TaskPriority, TaskRecord, TaskStatus

MAX_LIMIT = 200
MAX_OFFSET = 1_000_000
"""Each task that is left out is looked at; a cursor costs nothing."""
MAX_SEARCH = 200
MAX_NUMBER = 2**63 - 1
PAGE_FIELDS = ("limit", "offset", "cursor")
"""What may differ between the pages of a list."""


class TaskSort(StrEnum):
    CREATED_AT = "created_at"
    FINISHED_AT = "finished_at"  # what has not ended comes as if it had ended before all others
    DURATION = "duration"  # an unknown one counts as shorter than any
    PRIORITY = "priority"  # ascending: low first
    STATUS = "status"  # ascending: queued first, as a task's life goes


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks, in which order, and which page of them. What is None or empty does not matter."""

    owner: str | None = None
    """None: of all owners."""
    statuses: tuple[TaskStatus, ...] = ()
    priorities: tuple[TaskPriority, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    language: str | None = None
    engine: str | None = None
    model: str | None = None
    platform: str | None = None
    tag: str | None = None
    has_error: bool | None = None
    text: str = ""
    """Words that are all in the transcript; see ``store.search``."""
    sort: TaskSort = TaskSort.CREATED_AT
    descending: bool = True
    limit: int = 50
    offset: int = 0
    cursor: str | None = None
    """``next`` of the page before; the filters and the order are the same as then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    tasks: tuple[TaskRecord, ...]
    total: int
    """How many there are on all pages."""
    total_is_exact: bool
    """False: there are more than ``total``, and they were not counted."""
    has_more: bool
    next: str | None
    """The cursor of the next page; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a task stands in an order: behind all groups before its own, then by ``value`` (if any) and ``number``."""

    group: int
    value: datetime | float | None
    number: int


def check_query(query: TaskQuery) -> None:
    """Raises InvalidOption."""
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidOption("limit", query.limit, f"1 to {MAX_LIMIT}")
    if not 0 <= query.offset <= MAX_OFFSET:
        raise InvalidOption("offset", query.offset, f"0 to {MAX_OFFSET}, or a cursor")
    if query.offset and query.cursor is not None:
        raise InvalidOption("offset", query.offset, "none beside a cursor")
    if len(query.text) > MAX_SEARCH:
        raise InvalidOption("text", query.text, f"up to {MAX_SEARCH} characters")


def cursor_of(query: TaskQuery, place: Place) -> str:
    """What names the page behind ``place``, for this query only."""
    value = place.value.isoformat() if isinstance(place.value, datetime) else place.value
    packed = json.dumps([_fingerprint(query), place.group, value, place.number], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def place_of(query: TaskQuery) -> Place | None:
    """Where the page of ``query`` begins. Raises InvalidOption."""
    if query.cursor is None:
        return None
    try:
        packed = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        fingerprint, group, value, number = json.loads(packed)
        if fingerprint != _fingerprint(query) or not _is_count(group) or not _is_count(number):
            raise ValueError
        return Place(group=group, value=_value(query.sort, value), number=number)
    except (ValueError, TypeError, RecursionError, binascii.Error) as exc:
        raise InvalidOption("cursor", query.cursor, "`next` of a page of the same list") from exc


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _value(sort: TaskSort, value: object) -> datetime | float | None:
    if value is None:
        return None
    if sort is TaskSort.FINISHED_AT and isinstance(value, str):
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError
        return time
    if sort is TaskSort.DURATION and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError


def _fingerprint(query: TaskQuery) -> str:
    """A cursor of one list must not be used for another: its place may be anywhere there."""
    asked: list[Any] = [(entry.name, getattr(query, entry.name)) for entry in fields(query)]
    kept = repr([(name, value) for name, value in asked if name not in PAGE_FIELDS])
    return hashlib.sha256(kept.encode()).hexdigest()[:12]
