"""Durable tasks: making, finding and steering them."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, Path, Request, Response

from kikitori.errors import InvalidInput, InvalidOption
from kikitori.store.task_records import TaskPriority, TaskRecord, TaskStatus
from kikitori.tasks.desk import TaskDesk
from kikitori.tasks.views import task_json
from kikitori.web import bodies, openapi, openapi_tasks
from kikitori.web.answers import JSON_TYPE, json_bytes, long_json_bytes
from kikitori.web.auth import MayTranscribe
from kikitori.web.multipart import FILE_FIELD
from kikitori.web.state import State, WebState
from kikitori.web.task_answers import found
from kikitori.web.task_creation import MAX_FILES, create_tasks, read_batch, with_keys_apart
from kikitori.web.task_forms import (
    Wanted,
    check_names,
    form_values,
    read_choice,
    read_wanted,
    shortened,
    with_header_key,
)
from kikitori.web.task_lists import LIST_PARAMETERS, list_body, read_query
from kikitori.web.uploads import UploadedFile

router = APIRouter(tags=["tasks"], responses=openapi.error_responses(401, 403))

TaskId = Annotated[str, Path(description="The id of a task.", examples=[openapi_tasks.EXAMPLE_ID])]
KeyHeader = Annotated[str | None, Header(alias="Idempotency-Key", description="As the field `idempotency_key`.")]


@router.post(
    "/api/tasks",
    summary="Make a task",
    status_code=201,
    response_class=Response,
    openapi_extra={"requestBody": openapi_tasks.creation_body()},
    responses={201: openapi_tasks.created_response(), **openapi.error_responses(400, 404, 409, 413, 429, 503)},
)
async def create_task(
    request: Request, state: State, caller: MayTranscribe, idempotency_key: KeyHeader = None
) -> Response:
    """Send a recording as the form field `file`, or a link as `url` in a form or in JSON; the answer is the task.

    Every decode option is a field of its own. The task is stored when the answer comes: it is done even when the
    server is stopped in between. Several files make several tasks.
    """
    _refuse_query(request)
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        files: tuple[UploadedFile, ...] = ()
        kind = bodies.content_type(request)
        if kind == bodies.MULTIPART:
            form = await held.enter_async_context(state.uploads.receive_many(request, max_files=MAX_FILES))
            values, files = form_values(form.fields), form.files
        elif kind == bodies.URLENCODED:
            values = form_values(await bodies.form_fields(request))
        elif kind == bodies.JSON:
            values = await bodies.json_object(request)
        else:
            raise bodies.unknown_type(request, bodies.MULTIPART, bodies.JSON, bodies.URLENCODED)
        wanted = _one_source(read_wanted(with_header_key(values, idempotency_key)), files)
        records = await create_tasks(state, caller, wanted, files)
    shown = await _shown(state.services.tasks, records)
    if len(records) > 1:
        return await _written(state, {"tasks": shown}, 201)
    here = f"{_here(request)}/{records[0].id}"
    return Response(json_bytes(shown[0]), 201, headers={"location": here}, media_type=JSON_TYPE)


@router.post(
    "/api/tasks/batch",
    summary="Make many tasks",
    status_code=201,
    response_class=Response,
    openapi_extra={"requestBody": openapi_tasks.batch_body()},
    responses={201: openapi_tasks.batch_response(), **openapi.error_responses(400, 404, 409, 413, 429, 503)},
)
async def create_batch(
    request: Request, state: State, caller: MayTranscribe, idempotency_key: KeyHeader = None
) -> Response:
    """A task for each of up to 1,000 links: all of them, or, when one is wrong or the queue has no room, none."""
    _refuse_query(request)
    with state.calls.place(caller.id):
        if bodies.content_type(request) != bodies.JSON:
            raise bodies.unknown_type(request, bodies.JSON)
        sent = await bodies.json_object(request, most=bodies.MAX_LONG_BYTES)
        values = with_header_key(sent, idempotency_key)
        wanted = await anyio.to_thread.run_sync(read_batch, values, limiter=state.render_threads)
        records = await create_tasks(state, caller, wanted)
    shown = await _shown(state.services.tasks, records)
    return await _written(state, {"tasks": shown}, 201)


@router.get(
    "/api/tasks",
    summary="List tasks",
    response_class=Response,
    openapi_extra={"parameters": LIST_PARAMETERS},
    responses={200: openapi_tasks.list_response(), **openapi.error_responses(400, 429)},
)
async def list_tasks(request: Request, state: State, caller: MayTranscribe) -> Response:
    """Yours, the newest first. A key with the scope `admin` sees those of all owners.

    Filters may be combined. Follow `next` (as `cursor`) for lists that change while they are read; `offset` jumps.
    """
    asked = read_query(request.query_params, caller)
    with state.calls.place(caller.id) if asked.with_results else nullcontext():
        page = await state.services.tasks.list(asked.query)
        return await _written(state, await list_body(state.services.tasks, page, asked))


@router.get(
    "/api/tasks/{id}",
    summary="Show a task",
    response_class=Response,
    responses={200: openapi_tasks.task_response("The task."), **openapi.error_responses(404)},
)
async def show_task(id: TaskId, state: State, caller: MayTranscribe) -> Response:
    """Where it is, how far, how fast, and why it failed if it did."""
    return await _answer(state.services.tasks, await found(state.services.tasks, id, caller))


@router.post(
    "/api/tasks/{id}/cancel",
    summary="Cancel a task",
    response_class=Response,
    responses={200: openapi_tasks.task_response("The task."), **openapi.error_responses(404, 409)},
)
async def cancel_task(id: TaskId, state: State, caller: MayTranscribe) -> Response:
    """One that waits ends at once, one that runs within a segment; its text so far stays. 409 when it has ended."""
    task = await found(state.services.tasks, id, caller)
    return await _answer(state.services.tasks, await state.services.tasks.cancel(task.id, caller.sees))


@router.post(
    "/api/tasks/{id}/retry",
    summary="Begin a task again",
    response_class=Response,
    responses={200: openapi_tasks.task_response("The task."), **openapi.error_responses(404, 409, 429)},
)
async def retry_task(id: TaskId, state: State, caller: MayTranscribe) -> Response:
    """A task that failed, was cancelled or expired goes back in the queue, without text. 409 for any other.

    It runs on the model that was asked for. 429 when the queue is full.
    """
    task = await found(state.services.tasks, id, caller)
    return await _answer(state.services.tasks, await state.services.tasks.retry(task.id, caller.sees))


@router.post(
    "/api/tasks/{id}/priority",
    summary="Change the priority of a task",
    response_class=Response,
    openapi_extra={"requestBody": openapi_tasks.priority_body()},
    responses={200: openapi_tasks.task_response("The task."), **openapi.error_responses(400, 404, 409, 413)},
)
async def change_priority(id: TaskId, request: Request, state: State, caller: MayTranscribe) -> Response:
    """As long as it waits. 409 when it has begun."""
    priority = await _priority(request)
    task = await found(state.services.tasks, id, caller)
    changed = await state.services.tasks.set_priority(task.id, caller.sees, priority)
    return await _answer(state.services.tasks, changed)


@router.delete("/api/tasks/{id}", summary="Delete a task", status_code=204, responses=openapi.error_responses(404, 409))
async def delete_task(id: TaskId, state: State, caller: MayTranscribe) -> Response:
    """Cancels it, waits until its node has let go, and removes its recording, its text and all else for good."""
    task = await found(state.services.tasks, id, caller)
    await state.services.tasks.delete(task.id, caller.sees)
    return Response(status_code=204)


def _one_source(wanted: Wanted, files: tuple[UploadedFile, ...]) -> list[Wanted]:
    """What is wanted, for each of the files or for the link. Raises InvalidInput unless there is one of the two."""
    if files and wanted.url:
        raise InvalidInput("There is a file and a url.", remedy="Send one of them.", param="url")
    if not files and not wanted.url:
        raise InvalidInput(
            "There is neither a file nor a url.",
            remedy="Send the form field `file`, or a link as `url`.",
            param=FILE_FIELD,
        )
    return with_keys_apart([wanted] * max(1, len(files)))


def _refuse_query(request: Request) -> None:
    """What is asked for stands in the body: in the address it would be lost. Raises InvalidInput."""
    for name in request.query_params:
        raise InvalidInput(
            f"There is a parameter {shortened(name)!r} in the address.",
            remedy="Send it as a field of the form, or in the JSON object.",
            param=shortened(name),
        )


async def _priority(request: Request) -> TaskPriority:
    kind = bodies.content_type(request)
    if kind == bodies.URLENCODED:
        values = form_values(await bodies.form_fields(request))
    elif kind == bodies.JSON:
        values = await bodies.json_object(request)
    else:
        raise bodies.unknown_type(request, bodies.JSON, bodies.URLENCODED)
    check_names(values, ["priority"])
    if "priority" not in values:
        raise InvalidOption("priority", None, ", ".join(TaskPriority))
    return read_choice(values, "priority", TaskPriority, TaskPriority.NORMAL)


async def _answer(tasks: TaskDesk, task: TaskRecord) -> Response:
    return Response(json_bytes((await _shown(tasks, [task]))[0]), media_type=JSON_TYPE)


async def _shown(tasks: TaskDesk, records: list[TaskRecord]) -> list[dict[str, Any]]:
    waiting = [task.id for task in records if task.status is TaskStatus.QUEUED]
    places = await tasks.queue_positions(waiting) if waiting else {}
    return [task_json(task, queue_position=places.get(task.id)) for task in records]


async def _written(state: WebState, body: dict[str, Any], status: int = 200) -> Response:
    """Long lists are written on a thread."""
    content = await anyio.to_thread.run_sync(long_json_bytes, body, limiter=state.render_threads)
    return Response(content, status, media_type=JSON_TYPE)


def _here(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/api/tasks"
