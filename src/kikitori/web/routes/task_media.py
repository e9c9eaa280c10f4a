"""Recordings of tasks: to hear again, and how their waves look."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from kikitori.audio.peaks import Peaks, find_peaks
from kikitori.errors import NotFound
from kikitori.media.links import clean_name
from kikitori.pipeline.blocking import in_stoppable_media_thread
from kikitori.store.task_records import TaskRecord
from kikitori.web import openapi
from kikitori.web.auth import MayTranscribe
from kikitori.web.disconnect import while_connected
from kikitori.web.routes.tasks import TaskId
from kikitori.web.state import State
from kikitori.web.task_answers import found

router = APIRouter(tags=["tasks"], responses=openapi.error_responses(401, 403))

MAX_PEAKS = 4_000
DEFAULT_PEAKS = 600
UNKNOWN_TYPE = "application/octet-stream"
_BINARY = {"type": "string", "format": "binary"}

Count = Annotated[int, Query(ge=1, le=MAX_PEAKS, description="At most so many values.")]


class Wave(BaseModel):
    duration: float = Field(description="Seconds.")
    peaks: list[float] = Field(description="The largest amplitudes, 0 to 1, of equal parts of the recording.")


@router.get(
    "/api/tasks/{id}/recording",
    summary="Download the recording of a task",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {UNKNOWN_TYPE: {"schema": _BINARY}}},
        206: {"description": "A part of the file.", "content": {UNKNOWN_TYPE: {"schema": _BINARY}}},
        **openapi.error_responses(404, 429, 503),
    },
)
async def download_recording(id: TaskId, state: State, caller: MayTranscribe) -> Response:
    """As it was sent or fetched; `Range` asks for a part. 404 when it was removed, or is not here yet."""
    task = await found(state.services.tasks, id, caller)
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        path = await held.enter_async_context(state.services.tasks.media.local(_key(task)))
        name = clean_name(task.file_name, default=task.id)
        return HeldRanges(path, name=name, media_type=_media_type(name, path), held=held.pop_all())


@router.get(
    "/api/tasks/{id}/peaks",
    summary="Show how the wave of a task looks",
    responses=openapi.error_responses(400, 404, 413, 429, 503),
)
async def show_peaks(
    id: TaskId, request: Request, state: State, caller: MayTranscribe, count: Count = DEFAULT_PEAKS
) -> Wave:
    """For a picture of the recording. It is read for this, which takes a second for some minutes of sound."""
    task = await found(state.services.tasks, id, caller)
    key = _key(task)
    peaks = state.peaks.get((key, count))
    if peaks is None:
        with state.calls.place(caller.id):
            async with state.services.tasks.media.local(key) as path, while_connected(request.receive):
                peaks = await in_stoppable_media_thread(
                    partial(_read, path, count, state.services.settings.max_audio_seconds)
                )
        state.peaks.put((key, count), peaks)
    return Wave(duration=round(peaks.duration, 3), peaks=list(peaks.values))


def _read(path: Path, count: int, max_seconds: float, check: Callable[[], None]) -> Peaks:
    return find_peaks(path, count, max_seconds=max_seconds, check=check)


def _key(task: TaskRecord) -> str:
    if not task.media_key:
        raise NotFound("The recording of this task is not here.", remedy="It was removed, or has not been fetched yet.")
    return task.media_key


def _media_type(name: str, path: Path) -> str:
    """Only of sound and films: a page that somebody sent as a recording must not become one of ours."""
    for each in (name, path.name):
        kind = mimetypes.guess_type(each)[0] or ""
        if kind.startswith(("audio/", "video/")):
            return kind
    return UNKNOWN_TYPE


class HeldRanges(FileResponse):
    """A file, or parts of it; what is ``held`` is let go when it was sent."""

    def __init__(self, path: Path, *, name: str, media_type: str, held: AsyncExitStack) -> None:
        headers = {"cache-control": "private, no-cache", "x-content-type-options": "nosniff"}
        super().__init__(path, headers=headers, media_type=media_type, filename=name)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)
