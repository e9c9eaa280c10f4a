"""Where somebody speaks: voice activity, without recognising anything."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from kikitori.errors import InvalidOption
from kikitori.options import DecodeOptions, option_table, parse_options
from kikitori.web import openapi
from kikitori.web.auth import MayTranscribe
from kikitori.web.disconnect import while_connected
from kikitori.web.multipart import Fields, shown_names
from kikitori.web.state import State

PREFIX = "vad_"
ROWS = [row for row in option_table() if row.name.startswith(PREFIX) and row.name != "vad_filter"]
NAMES = [row.name.removeprefix(PREFIX) for row in ROWS]

router = APIRouter(tags=["audio"])


class SpeechSegment(BaseModel):
    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")


class SpeechSegments(BaseModel):
    duration: float = Field(description="Seconds of the recording.")
    segments: list[SpeechSegment]


def _form() -> dict[str, Any]:
    """The VAD options under their own names: ``threshold`` is ``vad_threshold`` of a transcription."""
    fields = {row.name.removeprefix(PREFIX): openapi.option_schema(row) for row in ROWS}
    return openapi.form_body({"file": openapi.FILE, **fields}, required=["file"])


@router.post(
    "/v1/audio/speech-segments",
    summary="Find speech",
    openapi_extra={"requestBody": _form()},
    responses=openapi.error_responses(400, 401, 403, 413, 429),
)
async def speech_segments(request: Request, response: Response, state: State, caller: MayTranscribe) -> SpeechSegments:
    """The stretches of a recording in which somebody speaks (Silero VAD), in seconds."""
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        upload = await held.enter_async_context(state.uploads.receive(request))
        options = _options(upload.fields)
        if ignored := [name for name in upload.fields.names() if name not in NAMES]:
            response.headers["x-kikitori-ignored-fields"] = shown_names(ignored)
        async with while_connected(request.receive):
            spans, duration = await state.services.speech_spans(upload.path, options)
    segments = [SpeechSegment(start=round(span.start, 3), end=round(span.end, 3)) for span in spans]
    return SpeechSegments(duration=round(duration, 3), segments=segments)


def _options(fields: Fields) -> DecodeOptions:
    try:
        return parse_options({f"{PREFIX}{name}": fields.one(name) for name in NAMES})
    except InvalidOption as exc:
        raise InvalidOption(exc.field.removeprefix(PREFIX), exc.value, exc.allowed) from exc
