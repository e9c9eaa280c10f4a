"""Tasks and their texts as answers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from fastapi.responses import Response

from kikitori.errors import Conflict, NotFound
from kikitori.store.task_records import TaskError, TaskRecord, TaskResult, TaskStatus
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.views import task_json
from kikitori.text.formats import FORMATS, OutputFormat, render_file
from kikitori.text.subtitle_options import SubtitleLayout
from kikitori.types import DecodeMode, Transcript
from kikitori.web.answers import JSON_TYPE, json_bytes
from kikitori.web.auth import Caller
from kikitori.web.errors import error_body, status_of

LONGEST_RETRY_SECONDS = 30
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_UNFIT = re.compile(r"[^\w-]+")
ENDED: Mapping[TaskStatus, TaskError] = {
    TaskStatus.FAILED: TaskError(code="failed", message="The task failed."),
    TaskStatus.CANCELLED: TaskError(
        code="cancelled", message="The task was cancelled.", remedy="POST …/retry starts it again."
    ),
    TaskStatus.EXPIRED: TaskError(
        code="expired",
        message="The task was not begun in time.",
        remedy="POST …/retry starts it again.",
    ),
}
"""What is said of a task that ended without a text and without an error of its own."""


async def found(tasks: TaskDesk, id: str, caller: Caller) -> TaskRecord:
    """The task, if ``caller`` may see it. Raises NotFound: the same for somebody else's task as for none at all."""
    try:
        return await tasks.get(checked_id(id), caller.sees)
    except NotFound:
        raise _no_task(id) from None


def checked_id(id: str) -> str:
    """``id``, when a task may be called so: no database is asked for any other. Raises NotFound."""
    if not _ID.fullmatch(id):
        raise _no_task(id)
    return id


def _no_task(id: str) -> NotFound:
    return NotFound(f"There is no task {id[:80]!r}.", remedy="GET /api/tasks lists yours.")


def without_result(task: TaskRecord, queue_position: int | None) -> Response | None:
    """The answer where the text of an unfinished or failed task was asked for; None: it has one."""
    if task.status is TaskStatus.SUCCEEDED:
        return None
    shown = task_json(task, queue_position=queue_position)
    if not task.status.is_final:
        seconds = math.ceil(shown["eta_seconds"] or 1)
        wait = str(min(max(1, seconds), LONGEST_RETRY_SECONDS))
        return Response(json_bytes(shown), 202, headers={"retry-after": wait}, media_type=JSON_TYPE)
    error = task.error or ENDED[task.status]
    status, kind = status_of(Conflict(error.message))
    body: dict[str, Any] = error_body(f"{error.message} {error.remedy}".strip(), kind, code=error.code)
    body["error"] = {**body["error"], "remedy": error.remedy, "status": task.status.value}
    return Response(json_bytes(body), status, media_type=JSON_TYPE)


def transcript_of(result: TaskResult) -> Transcript:
    task = result.task
    return Transcript(
        segments=result.segments,
        language=task.language,
        language_probability=task.language_probability,
        duration=task.duration or task.seconds_done,
        model=task.model,
        engine=task.engine,
        task=task.task_type,
        mode=DecodeMode(task.mode) if task.mode else DecodeMode.WINDOWED,
    )


def write_file(result: TaskResult, format: OutputFormat, layout: SubtitleLayout) -> bytes:
    """Pure, and slow for a recording of many hours: for a thread."""
    return render_file(transcript_of(result), format, layout=layout, title=_stem(result.task))


def download_headers(task: TaskRecord, format: OutputFormat, language: str = "") -> dict[str, str]:
    """The file is called as the recording was, in any script (RFC 6266, RFC 8187); ``language``: of a translation."""
    name = f"{_stem(task)}{'.' if language else ''}{_UNFIT.sub('_', language)}{FORMATS[format].suffix}"
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%;' else "_" for char in name)
    value = f'attachment; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name.encode(errors='replace'), safe='')}"
    return {"content-disposition": value}


def _stem(task: TaskRecord) -> str:
    return PurePath(task.file_name.replace("/", " ")).stem or task.id
