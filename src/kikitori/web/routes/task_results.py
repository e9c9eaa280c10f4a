"""What came of tasks: their text, and files of it."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from kikitori.errors import InvalidOption
from kikitori.store.task_records import TaskRecord, TaskResult, TaskStatus
from kikitori.tasks.views import result_json
from kikitori.text.formats import MEDIA_TYPES, OutputFormat
from kikitori.text.subtitle_options import layout_table, parse_layout
from kikitori.web import openapi, openapi_tasks
from kikitori.web.answers import JSON_TYPE, long_json_bytes
from kikitori.web.auth import MayTranscribe
from kikitori.web.routes.tasks import TaskId
from kikitori.web.state import State, WebState
from kikitori.web.task_answers import download_headers, found, without_result, write_file
from kikitori.web.task_forms import RESULT_FORMATS, check_names
from kikitori.web.task_translations import find_translation, translated

router = APIRouter(tags=["tasks"], responses=openapi.error_responses(401, 403))

Partial = Annotated[bool, Query(description="What there is so far, or until it broke off, instead of 202 or 409.")]
Translation = Annotated[
    str,
    Query(
        description="The text in another language, where POST …/translate made it: `de`, `German`, or the answer's id.",
        max_length=100,
    ),
]
FORMAT_NAMES = ", ".join(RESULT_FORMATS)
LAYOUT_NAMES = tuple(row.name for row in layout_table())


@router.get(
    "/api/tasks/{id}/result",
    summary="Show the text of a task",
    response_class=Response,
    responses={**openapi_tasks.result_responses(), **openapi.error_responses(400, 404, 429)},
)
async def show_result(
    id: TaskId, request: Request, state: State, caller: MayTranscribe, partial: Partial = False
) -> Response:
    """The text with its segments. 202 while the task waits or runs, 409 with the reason when it has none."""
    check_names(dict(request.query_params), ["partial"], what="parameter")
    task = await found(state.services.tasks, id, caller)
    with state.calls.place(caller.id):
        if not partial and (answer := await _without_result(state, task)):
            return answer
        result = await state.services.tasks.result(task.id, caller.sees)
        body = await anyio.to_thread.run_sync(_result_bytes, result, partial, limiter=state.render_threads)
    return Response(body, media_type=JSON_TYPE)


@router.get(
    "/api/tasks/{id}/subtitles",
    summary="Download the text of a task",
    response_class=Response,
    openapi_extra={"parameters": openapi_tasks.layout_parameters()},
    responses={**openapi_tasks.subtitle_responses(), **openapi.error_responses(400, 404, 429)},
)
async def download_subtitles(
    id: TaskId,
    request: Request,
    state: State,
    caller: MayTranscribe,
    format: Annotated[str, Query(description=f"One of {FORMAT_NAMES}.")] = OutputFormat.SRT.value,
    partial: Partial = False,
    translation: Translation = "",
) -> Response:
    """As subtitles or text, called as the recording is. 202 and 409 as for the result."""
    values = dict(request.query_params)
    check_names(values, ["format", "partial", "translation", *LAYOUT_NAMES], what="parameter")
    layout = parse_layout({name: value for name, value in values.items() if name in LAYOUT_NAMES})
    wanted = _format(format)
    task = await found(state.services.tasks, id, caller)
    with state.calls.place(caller.id):
        language = ""
        if translation:  # made of a text that was whole, or as far as it ever came
            kept = await find_translation(state.services.answers, task.id, translation)
            language = kept.language
        elif not partial and (answer := await _without_result(state, task)):
            return answer
        result = await state.services.tasks.result(task.id, caller.sees)
        if translation:
            result = await anyio.to_thread.run_sync(translated, result, kept, limiter=state.render_threads)
        body = await anyio.to_thread.run_sync(write_file, result, wanted, layout, limiter=state.render_threads)
    return Response(body, media_type=MEDIA_TYPES[wanted], headers=download_headers(result.task, wanted, language))


def _format(name: str) -> OutputFormat:
    name = name.strip().lower()
    if name not in RESULT_FORMATS:
        raise InvalidOption("format", name, FORMAT_NAMES)
    return OutputFormat(name)


async def _without_result(state: WebState, task: TaskRecord) -> Response | None:
    waits = task.status is TaskStatus.QUEUED
    places = await state.services.tasks.queue_positions([task.id]) if waits else {}
    return without_result(task, places.get(task.id))


def _result_bytes(result: TaskResult, partial: bool) -> bytes:
    """A partial one says how far it is."""
    body = result_json(result)
    if partial:
        body |= {"status": result.task.status.value, "progress": result.task.progress}
    return long_json_bytes(body)
