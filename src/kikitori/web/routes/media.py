"""Recordings themselves: what is in them, and their sound as a file."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from kikitori.audio.extract import ExtractedAudio, extract
from kikitori.audio.extract_options import (
    FIELDS,
    LIMITS,
    MAX_RATE,
    MIN_RATE,
    AudioFormat,
    ExtractOptions,
    parse_extract,
)
from kikitori.audio.inspect import inspect
from kikitori.media import disk
from kikitori.media.links import clean_name
from kikitori.pipeline.blocking import in_media_thread, in_stoppable_media_thread
from kikitori.web import bodies, openapi
from kikitori.web.auth import MayTranscribe
from kikitori.web.disconnect import while_connected
from kikitori.web.multipart import Fields, shown_names
from kikitori.web.recordings import URL_FIELD, Recording, received
from kikitori.web.state import State, WebState

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/api/media", tags=["media"])

IGNORED_HEADER = "x-kikitori-ignored-fields"
PIECE_BYTES = 256 * 1024

_URL = {
    "type": "string",
    "description": "Instead of a file: a link to a recording, or to a page of a video site.",
    "examples": [""],
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "output_format": {
        "type": "string",
        "enum": [each.value for each in AudioFormat],
        "default": "wav",
        "description": "`ogg` and `opus` are both Opus in Ogg; `m4a` is AAC.",
    },
    "sample_rate": {
        "type": "integer",
        "minimum": MIN_RATE,
        "maximum": MAX_RATE,
        "description": f"Samples per second, {MIN_RATE} to {MAX_RATE}; `mp3`, `m4a`, `ogg` and `opus` have some of "
        "them. Default: that of the recording.",
        "examples": [16_000],
    },
    "bit_depth": {
        "type": "integer",
        "enum": [8, 16, 24, 32],
        "description": "Bits of a sample: all of them for `wav`, 16 and 24 for `flac`, none for the others. "
        "Default: 16.",
        "examples": [16],
    },
    "channels": {
        "type": "string",
        "enum": ["keep", "1", "2"],
        "default": "keep",
        "description": "1 mixes all of them; `keep` has up to 8 with `wav` and `flac`, up to 2 with the others.",
    },
    "start": {"type": "number", "minimum": 0, "default": 0, "description": "Seconds to leave out at the start."},
    "end": {"type": "number", "minimum": 0, "description": "Seconds at which to stop. Default: the end."},
}


class Track(BaseModel):
    """One stream of a file. What the file does not say is left out."""

    index: int
    type: str = Field(description="audio, video, subtitle, data or attachment.")
    codec: str | None = Field(None, description="Absent: not known here, so it cannot be decoded.")
    duration: float | None = Field(None, description="Seconds.")
    bit_rate: int | None = Field(None, description="Bits per second.")
    language: str | None = None
    title: str | None = None
    default: bool = Field(False, description="Players take it unless told otherwise.")
    sample_rate: int | None = None
    channels: int | None = None
    layout: str | None = Field(None, description="Where the channels stand: mono, stereo, 5.1 …")
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    tags: dict[str, str]


class Probe(BaseModel):
    """What the container tells; none of it is sure before decoding."""

    container: str = Field(description="FFmpeg's name of the format.")
    duration: float | None = Field(None, description="Seconds.")
    bit_rate: int | None = Field(None, description="Bits per second.")
    size_bytes: int
    file_name: str | None = None
    tags: dict[str, str]
    streams: list[Track]


_PROBE_EXAMPLE = {
    "container": "matroska,webm",
    "duration": 61.5,
    "bit_rate": 1_069_184,
    "size_bytes": 8_219_353,
    "file_name": "talk.mkv",
    "tags": {"title": "A talk"},
    "streams": [
        {
            "index": 0, "type": "video", "codec": "h264", "default": True, "width": 1280, "height": 720,
            "frame_rate": 25.0, "tags": {},
        },
        {
            "index": 1, "type": "audio", "codec": "aac", "language": "eng", "title": "Stereo", "default": True,
            "sample_rate": 48_000, "channels": 2, "layout": "stereo", "tags": {},
        },
    ],
}  # fmt: skip


def _body(options: dict[str, dict[str, Any]], example: dict[str, Any]) -> dict[str, Any]:
    """A form with a file or a link, or the same as JSON with a link."""
    form = openapi.form_body({"file": openapi.FILE, URL_FIELD: _URL, **options}, required=[])
    form["content"]["multipart/form-data"]["schema"]["properties"]["file"] = openapi.FILE
    json = {"type": "object", "required": [URL_FIELD], "properties": {URL_FIELD: {"type": "string"}, **options}}
    form["content"][bodies.JSON] = {"schema": json, "example": example}
    return form


def _audio_responses() -> dict[int | str, dict[str, Any]]:
    types = dict.fromkeys(limits.media_type for limits in LIMITS.values())
    success = {
        "description": "The audio, as a file to download.",
        "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in types},
        "headers": {
            "content-disposition": {
                "description": "The name of the recording, with the ending of the format.",
                "schema": {"type": "string"},
                "example": 'attachment; filename="talk.mp3"',
            }
        },
    }
    return {200: success, **openapi.error_responses(400, 401, 403, 413, 429, 503)}


@router.post(
    "/audio",
    summary="Take the audio out of a recording",
    response_class=Response,
    openapi_extra={
        "requestBody": _body(_OPTIONS, {URL_FIELD: "https://example.com/talk.mp4", "output_format": "mp3", "end": 60})
    },
    responses=_audio_responses(),
)
async def extract_audio(request: Request, state: State, caller: MayTranscribe) -> Response:
    """The sound of a recording or a film, or a part of it, as a file of its own.

    The whole file is made first, so its length is known when it comes; nothing stays on the server.
    """
    began = time.perf_counter()
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        recording = await held.enter_async_context(received(request, state))
        options = parse_extract({name: recording.fields.one(name) for name in FIELDS})
        target = await held.enter_async_context(_new_file(state))
        async with while_connected(request.receive):
            with recording.blamed():
                made = await in_stoppable_media_thread(partial(_extract, state, recording, target, options))
        _log_end(recording, options, made, time.perf_counter() - began)
        return HeldFile(
            target,
            size_bytes=made.size_bytes,
            media_type=options.limits.media_type,
            headers={
                "content-disposition": _disposition(recording.name, options.format),
                **_headers(recording.fields, (URL_FIELD, *FIELDS)),
            },
            held=held.pop_all(),
        )


@router.post(
    "/probe",
    summary="Show what is in a recording",
    response_model_exclude_none=True,
    openapi_extra={"requestBody": _body({}, {URL_FIELD: "https://example.com/talk.mp4"})},
    responses={
        200: {"content": {"application/json": {"example": _PROBE_EXAMPLE}}},
        **openapi.error_responses(400, 401, 403, 413, 429, 503),
    },
)
async def probe(request: Request, response: Response, state: State, caller: MayTranscribe) -> Probe:
    """Container, length, tags and streams of a recording or a film, as its container tells them."""
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        recording = await held.enter_async_context(received(request, state))
        response.headers.update(_headers(recording.fields, (URL_FIELD,)))
        async with while_connected(request.receive):
            with recording.blamed():
                facts = await in_media_thread(partial(inspect, recording.path))
    tracks = [{name: value for name, value in asdict(stream).items() if value != ""} for stream in facts.streams]
    return Probe(
        container=facts.container,
        duration=facts.duration,
        bit_rate=facts.bit_rate,
        size_bytes=recording.size_bytes,
        file_name=recording.name or None,
        tags=dict(facts.tags),
        streams=[Track(type=track.pop("kind"), **track) for track in tracks],
    )


class HeldFile(Response):
    """A file that is sent while the client listens.

    What is ``held`` is let go before its last piece: a client that has it may ask again at once, and finds its place.
    """

    def __init__(
        self, path: Path, *, size_bytes: int, media_type: str, headers: Mapping[str, str], held: AsyncExitStack
    ) -> None:
        super().__init__(None, headers={**headers, "content-length": str(size_bytes)}, media_type=media_type)
        self._path, self._held = path, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, while_connected(receive):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with await anyio.open_file(self._path, "rb") as file:
                piece = await file.read(PIECE_BYTES)
                while following := await file.read(PIECE_BYTES):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    piece = following
        await send({"type": "http.response.body", "body": piece, "more_body": False})


@asynccontextmanager
async def _new_file(state: WebState) -> AsyncGenerator[Path, None]:
    """An empty file of ours, removed at the end."""
    path = disk.temporary(state.uploads.folder, "media")
    try:
        with disk.disk_errors():
            (await anyio.to_thread.run_sync(disk.create, path)).close()
        yield path
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(disk.remove, path)


def _extract(
    state: WebState, recording: Recording, target: Path, options: ExtractOptions, check: Callable[[], None]
) -> ExtractedAudio:
    settings = state.services.settings
    return extract(
        recording.path,
        target,
        options,
        max_seconds=settings.max_audio_seconds,
        max_bytes=settings.max_upload_bytes,
        check=check,
    )


def _disposition(name: str, output: AudioFormat) -> str:
    """The name of the recording with the ending of its new format."""
    name = f"{PurePath(clean_name(name, default='audio')).stem or 'audio'}.{output}"
    plain = quote(name) == name
    return f'attachment; filename="{name}"' if plain else f"attachment; filename*=utf-8''{quote(name)}"


def _headers(fields: Fields, known: tuple[str, ...]) -> dict[str, str]:
    ignored = [name for name in fields.names() if name not in known]
    return {"cache-control": "no-store", **({IGNORED_HEADER: shown_names(ignored)} if ignored else {})}


def _log_end(recording: Recording, options: ExtractOptions, made: ExtractedAudio, seconds: float) -> None:
    logger.info(
        "audio extracted",
        extra={
            "action": "audio_extracted",
            "format": options.format.value,
            "bytes": recording.size_bytes,
            "audio_seconds": round(made.duration, 3),
            "audio_bytes": made.size_bytes,
            "seconds": round(seconds, 3),
        },
    )
