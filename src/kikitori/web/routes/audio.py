"""OpenAI's audio routes, with our options beside its fields."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter, Request, Response

from kikitori.options import DecodeOptions
from kikitori.pipeline.events import Finished, Started, TranscriptionEvent
from kikitori.services.parts import Services
from kikitori.types import Task, Transcript
from kikitori.web import openapi
from kikitori.web.answers import ANSWER_TYPES, answer_headers, write_answer
from kikitori.web.asked import read_asked
from kikitori.web.auth import Caller, MayTranscribe
from kikitori.web.disconnect import while_connected
from kikitori.web.state import State, WebState
from kikitori.web.streaming import EventStream, event_frames

logger = logging.getLogger(__name__)
router = APIRouter(tags=["audio"])


@router.post(
    "/v1/audio/transcriptions",
    summary="Turn speech into text",
    response_class=Response,
    openapi_extra={"requestBody": openapi.transcription_form()},
    responses=openapi.transcript_responses(),
)
async def transcribe(request: Request, state: State, caller: MayTranscribe) -> Response:
    """Send a recording as the form field `file`; the answer is its text.

    All of OpenAI's fields work, and every decode option of Kikitori is a field of its own.
    With `stream=true` the text comes as server-sent events while it is heard.
    """
    return await _answer(request, state, caller, task=None)


@router.post(
    "/v1/audio/translations",
    summary="Turn speech into English text",
    response_class=Response,
    openapi_extra={"requestBody": openapi.transcription_form(translation=True)},
    responses=openapi.transcript_responses(),
)
async def translate(request: Request, state: State, caller: MayTranscribe) -> Response:
    """The same as a transcription with `task=translate`; needs an engine that translates."""
    return await _answer(request, state, caller, task=Task.TRANSLATE)


async def _answer(request: Request, state: WebState, caller: Caller, *, task: Task | None) -> Response:
    """Everything a request holds (its place, its file, its decoding) is let go with its answer, or without one."""
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        upload = await held.enter_async_context(state.uploads.receive(request))
        asked = read_asked(upload.fields, task=task)
        work = transcribing(state.services, upload.path, upload.size_bytes, asked.options, asked.model)
        events = await held.enter_async_context(aclosing(work))
        async with while_connected(request.receive):
            started = await _started(events)
            headers = answer_headers(started, asked)
            if not asked.stream:
                transcript = await finished(events)
        if asked.stream:
            frames = event_frames(events, asked, stopping=lambda: state.services.draining)
            return EventStream(frames, headers=headers, held=held.pop_all())
        body = await anyio.to_thread.run_sync(write_answer, transcript, asked, limiter=state.render_threads)
        return Response(body, media_type=ANSWER_TYPES[asked.format], headers=headers)


async def transcribing(
    services: Services, path: Path, size_bytes: int, options: DecodeOptions, model: str
) -> AsyncGenerator[TranscriptionEvent, None]:
    """The events of one recording; its end is logged."""
    began = time.perf_counter()
    async with aclosing(services.transcriber.stream(path, options, model=model)) as events:
        async for event in events:
            if isinstance(event, Finished):
                _log_end(event.transcript, size_bytes, time.perf_counter() - began)
            yield event


def _log_end(transcript: Transcript, size_bytes: int, seconds: float) -> None:
    logger.info(
        "transcribed",
        extra={
            "action": "transcribed",
            "model": transcript.model,
            "engine": transcript.engine,
            "mode": transcript.mode.value,
            "language": transcript.language,
            "bytes": size_bytes,
            "audio_seconds": round(transcript.duration, 3),
            "seconds": round(seconds, 3),
        },
    )


async def _started(events: AsyncGenerator[TranscriptionEvent, None]) -> Started:
    async for event in events:
        if isinstance(event, Started):
            return event
    raise AssertionError("A transcription starts.")


async def finished(events: AsyncGenerator[TranscriptionEvent, None]) -> Transcript:
    """What comes of it."""
    *_, last = [event async for event in events if isinstance(event, Finished)]
    return last.transcript
