"""The life of a task as it happens: server-sent events, and the same over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response, WebSocket
from starlette.requests import HTTPConnection

from kikitori.errors import KikitoriError
from kikitori.store.keys import Scope
from kikitori.web import openapi, openapi_tasks, task_stream
from kikitori.web.auth import Caller, MayWatch, allowed, identify, socket_secret
from kikitori.web.routes.tasks import TaskId
from kikitori.web.state import State, WebState
from kikitori.web.streaming import EventStream
from kikitori.web.task_answers import found
from kikitori.web.task_frames import frames, pump, refuse
from kikitori.web.task_stream import Position, Told, follow, has_ended, read_position

router = APIRouter(tags=["tasks"])

LastId = Annotated[str | None, Header(alias="Last-Event-ID", description="The id of the last event that came.")]
LastIdQuery = Annotated[str | None, Query(description="The same, for clients that cannot set a header.")]
POSITION = "last_event_id"


@router.get(
    "/api/tasks/{id}/events",
    summary="Watch a task",
    response_class=Response,
    responses={**openapi_tasks.events_responses(), **openapi.error_responses(400, 401, 403, 404, 429)},
)
async def watch_task(
    id: TaskId,
    request: Request,
    state: State,
    caller: MayWatch,
    header: LastId = None,
    last_event_id: LastIdQuery = None,
) -> Response:
    """Server-sent events: `status` (the task), `segment`, `progress`; the last one is the final `status`.

    With `Last-Event-ID` they go on after that event, on any node. The same comes over a WebSocket at this address,
    as JSON messages `{"event", "id", "data"}`; there, and here, browsers may send the key as `api_key`. A key may
    follow so many streams at once (429 says when there are more); when it is revoked, they end.
    """
    position = read_position(header or last_event_id, POSITION)
    task = await found(state.services.tasks, id, caller)
    if await has_ended(state.services.tasks, task.id, caller.sees, position):
        return Response(status_code=204)
    async with AsyncExitStack() as held:
        held.enter_context(state.streams.place(caller.id))
        events = frames(_events(request, state, caller, task.id, position), stopping=lambda: state.services.draining)
        return EventStream(events, headers={}, held=held.pop_all())


@router.websocket("/api/tasks/{id}/events")
async def watch_task_on_socket(websocket: WebSocket, id: str, state: State) -> None:
    await websocket.accept()
    try:
        caller = allowed(await identify(websocket, state, socket_secret(websocket)), Scope.TRANSCRIBE)
        position = read_position(websocket.query_params.get(POSITION), POSITION)
        task = await found(state.services.tasks, id, caller)
        with state.streams.place(caller.id):
            events = _events(websocket, state, caller, task.id, position)
            await pump(websocket, events, stopping=lambda: state.services.draining)
    except KikitoriError as exc:
        await refuse(websocket, exc)


def _events(
    connection: HTTPConnection, state: WebState, caller: Caller, task_id: str, position: Position
) -> AsyncGenerator[Told | None, None]:
    services = state.services

    async def check() -> None:
        allowed(await identify(connection, state, socket_secret(connection)), Scope.TRANSCRIBE)

    return follow(
        services.tasks,
        task_id,
        caller.sees,
        position,
        stopping=lambda: services.draining,
        check=check,
        poll_seconds=task_stream.POLL_SECONDS,
        quiet_seconds=task_stream.QUIET_SECONDS,
        check_seconds=task_stream.CHECK_SECONDS,
    )
