"""Lists of tasks: what the query asks for, and the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import anyio.to_thread
from starlette.datastructures import QueryParams

from kikitori.errors import Forbidden, InvalidOption, NotFound
from kikitori.store.task_queries import MAX_LIMIT, MAX_OFFSET, MAX_SEARCH, TaskPage, TaskQuery, TaskSort
from kikitori.store.task_records import TaskPriority, TaskRecord, TaskStatus
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.views import result_json, task_json
from kikitori.web.asked import language_code
from kikitori.web.auth import Caller
from kikitori.web.task_forms import MAX_MODEL, MAX_PLATFORM, MAX_TAG, check_names, check_text

DEFAULT_LIMIT = 50
RESULT = "result"
MAX_CURSOR = 1_000
MAX_OWNER = 200
MAX_RESULTS = 20
"""Tasks of a page that carries their texts: these may be long."""
FIRST_YEAR = 1_970

Chosen = TypeVar("Chosen", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedList:
    query: TaskQuery
    with_results: bool


def read_query(params: QueryParams, caller: Caller) -> AskedList:
    """What the query asks for, of what ``caller`` may see. Raises InvalidInput, InvalidOption, Forbidden."""
    check_names(dict(params), [parameter["name"] for parameter in LIST_PARAMETERS], what="parameter")
    values = {name: _one(params, name) for name in params if name not in MANY}
    check_text(values)
    with_results = RESULT in _names(params, "include", [RESULT])
    most = MAX_RESULTS if with_results else MAX_LIMIT
    sort, descending = _sort(values)
    query = TaskQuery(
        owner=_owner(values, caller),
        statuses=tuple(TaskStatus(name) for name in _names(params, "status", TaskStatus)),
        priorities=tuple(TaskPriority(name) for name in _names(params, "priority", TaskPriority)),
        created_after=_time(values, "created_after"),
        created_before=_time(values, "created_before"),
        finished_after=_time(values, "finished_after"),
        finished_before=_time(values, "finished_before"),
        language=language_code(values["language"]) if values.get("language") else None,
        engine=_text(values, "engine", 40),
        model=_text(values, "model", MAX_MODEL),
        platform=_text(values, "platform", MAX_PLATFORM),
        tag=_text(values, "tag", MAX_TAG),
        has_error=_flag(values, "has_error"),
        text=_text(values, "text", MAX_SEARCH) or "",
        sort=sort,
        descending=descending,
        limit=_number(values, "limit", 1, most, min(DEFAULT_LIMIT, most)),
        offset=_number(values, "offset", 0, MAX_OFFSET, 0),
        cursor=_text(values, "cursor", MAX_CURSOR),
    )
    if query.cursor and query.offset:
        raise InvalidOption("offset", query.offset, "only without cursor")
    return AskedList(query=query, with_results=with_results)


async def list_body(tasks: TaskDesk, page: TaskPage, asked: AskedList) -> dict[str, Any]:
    waiting = [task.id for task in page.tasks if task.status is TaskStatus.QUEUED]
    places = await tasks.queue_positions(waiting) if waiting else {}
    shown = [task_json(task, queue_position=places.get(task.id)) for task in page.tasks]
    if asked.with_results:
        for task, entry in zip(page.tasks, shown, strict=True):
            entry[RESULT] = await _result(tasks, task)
    return {
        "tasks": shown,
        "total": page.total,
        "total_is_exact": page.total_is_exact,
        "has_more": page.has_more,
        "next": page.next,
    }


async def _result(tasks: TaskDesk, task: TaskRecord) -> Mapping[str, Any] | None:
    """Null for a task that has no text, or was removed in between."""
    if task.status is not TaskStatus.SUCCEEDED:
        return None
    try:
        return await anyio.to_thread.run_sync(result_json, await tasks.result(task.id, None))
    except NotFound:
        return None


def _owner(values: Mapping[str, str], caller: Caller) -> str | None:
    owner = _text(values, "owner", MAX_OWNER)
    if caller.sees is None:
        return owner
    if owner not in (None, caller.owner):
        raise Forbidden("This key sees the tasks of its owner only.", remedy="Use one with the scope 'admin'.")
    return caller.owner


def _sort(values: Mapping[str, str]) -> tuple[TaskSort, bool]:
    """``created_at`` ascending, ``-created_at`` descending."""
    text = values.get("sort", "").strip() or f"-{TaskSort.CREATED_AT}"
    name = text.removeprefix("-")
    if name not in set(TaskSort):
        raise InvalidOption("sort", text, f"{', '.join(TaskSort)}; with - before it: descending")
    return TaskSort(name), text.startswith("-")


def _names(params: QueryParams, name: str, allowed: type[StrEnum] | list[str]) -> list[str]:
    """Several values, repeated or with commas between."""
    known = [str(each) for each in allowed]
    names = [part.strip().lower() for value in params.getlist(name) for part in value.split(",") if part.strip()]
    for each in names:
        if each not in known:
            raise InvalidOption(name, each, ", ".join(known))
    return list(dict.fromkeys(names))


def _one(params: QueryParams, name: str) -> str:
    values = {value.strip() for value in params.getlist(name)}
    if len(values) > 1:
        raise InvalidOption(name, sorted(values), "one value")
    return values.pop()


def _text(values: Mapping[str, str], name: str, most: int) -> str | None:
    text = values.get(name, "")
    if len(text) > most:
        raise InvalidOption(name, text, f"text of up to {most:,} characters")
    return text or None


def _time(values: Mapping[str, str], name: str) -> datetime | None:
    """ISO 8601; without a zone it is UTC."""
    text = values.get(name, "")
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        time = None
    if time is None or time.year < FIRST_YEAR:
        raise InvalidOption(name, text, "a time such as 2026-03-01T12:30:00Z")
    return time


def _flag(values: Mapping[str, str], name: str) -> bool | None:
    text = values.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise InvalidOption(name, text, "true, false")
    return text in ("true", "1") if text else None


def _number(values: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    text = values.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and least <= int(text) <= most):
        raise InvalidOption(name, text, f"a whole number, {least} to {most:,}")
    return int(text)


MANY = ("status", "priority", "include")


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    shown = {"type": "string", **schema}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": shown}


def _choices(name: str, description: str, allowed: list[str]) -> dict[str, Any]:
    return _parameter(name, description, type="array", items={"type": "string", "enum": allowed})


_WHEN = "ISO 8601; without a zone it is UTC."
LIST_PARAMETERS: list[dict[str, Any]] = [
    _choices("status", "One or several.", [each.value for each in TaskStatus]),
    _choices("priority", "One or several.", [each.value for each in TaskPriority]),
    _parameter("created_after", f"{_WHEN} At this time, or later.", format="date-time"),
    _parameter("created_before", f"{_WHEN} Before this time.", format="date-time"),
    _parameter("finished_after", f"{_WHEN} At this time, or later.", format="date-time"),
    _parameter("finished_before", f"{_WHEN} Before this time.", format="date-time"),
    _parameter("language", "Of the speech."),
    _parameter("engine", "That ran."),
    _parameter("model", "That ran."),
    _parameter("platform", "The label of the task."),
    _parameter("tag", "One of its tags."),
    _parameter("owner", "Whose; for keys with the scope `admin`, which see all."),
    _parameter("has_error", "Whether it has an error.", type="boolean"),
    _parameter("text", "Words that are all in its text; `word*` finds all that begin so."),
    _parameter("sort", f"{', '.join(TaskSort)}; `-` before it: descending.", default=f"-{TaskSort.CREATED_AT}"),
    _parameter("limit", "Tasks of a page.", type="integer", minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT),
    _parameter("offset", "Tasks to leave out before the page.", type="integer", minimum=0, maximum=MAX_OFFSET),
    _parameter("cursor", "`next` of the page before, with the same filters and order."),
    _choices("include", f"`result`: the texts too; then `limit` is at most {MAX_RESULTS}.", [RESULT]),
]
