"""Deepgram's ``/v1/listen``: live speech over a WebSocket, whole recordings over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response, WebSocket
from starlette.responses import JSONResponse

from kikitori.errors import KikitoriError
from kikitori.protocols.deepgram.codec import IDLE_CODE, IDLE_REASON, IDLE_SECONDS, ListenCodec
from kikitori.protocols.deepgram.listening import Listen, read_listen
from kikitori.protocols.deepgram.messages import About
from kikitori.protocols.deepgram.recordings import Recorded, read_recorded, response
from kikitori.protocols.deepgram.samples import wav_head
from kikitori.store.keys import Scope
from kikitori.types import Transcript
from kikitori.web import bodies, openapi_listen
from kikitori.web.answers import JSON_TYPE, long_json_bytes
from kikitori.web.auth import Caller, KeyInHeaders, allowed, identify
from kikitori.web.disconnect import while_connected
from kikitori.web.errors import headers_of, status_of
from kikitori.web.recordings import received
from kikitori.web.routes.audio import finished, transcribing
from kikitori.web.sockets.opening import chosen, key_of, offered
from kikitori.web.sockets.pump import SocketLimits
from kikitori.web.state import State, WebState

router = APIRouter(tags=["audio"])

FRAME_BYTES = 4 * 1024 * 1024
KEY_SCHEMES = ("token", "bearer")
"""Subprotocols that a key follows: ``token, KEY``."""
REQUEST_HEADER = "dg-request-id"


# Live ----------------------------------------------------------------------------------------------------------------


@router.websocket("/v1/listen")
async def listen(websocket: WebSocket, state: State) -> None:
    """Speech as it is spoken; docs/deepgram.md says what is different."""
    about = About(request_id=str(uuid.uuid4()))
    try:
        caller = allowed(await identify(websocket, state, _socket_key(websocket)), Scope.TRANSCRIBE)
        wanted = read_listen(websocket.query_params.multi_items(), state.services.live_defaults)
        await state.services.live.checked(wanted.options)
        about = await _about(about, state, wanted)
    except KikitoriError as exc:
        await websocket.send_denial_response(_refusal(exc, about.request_id))
        return
    headers = [(REQUEST_HEADER.encode(), about.request_id.encode())]
    await websocket.accept(subprotocol=chosen(websocket, preferred=KEY_SCHEMES), headers=headers)
    limits = SocketLimits(
        frame_bytes=FRAME_BYTES,
        idle_seconds=IDLE_SECONDS,
        idle_code=IDLE_CODE,
        idle_reason=IDLE_REASON,
        text_keeps_alive=True,
        most_seconds=state.services.settings.live_max_seconds,
    )
    await state.sockets.serve(websocket, ListenCodec(wanted, about, created=_now()), caller, limits)


def _socket_key(websocket: WebSocket) -> str:
    """The key in a header, or in the subprotocols ``token, KEY``; empty: none."""
    items = offered(websocket)
    for scheme in KEY_SCHEMES:
        if items[:1] == [scheme] and len(items) > 1:
            return items[1]
    return key_of(websocket)


async def _about(about: About, state: WebState, wanted: Listen) -> About:
    spec = await asyncio.to_thread(state.services.catalog.resolve, wanted.options.model)
    return About(request_id=about.request_id, model=spec.id, engine=spec.engine)


# Recordings ----------------------------------------------------------------------------------------------------------


@router.post(
    "/v1/listen",
    summary="Turn speech into text, as Deepgram does",
    response_class=Response,
    openapi_extra=openapi_listen.listen_request(),
    responses=openapi_listen.listen_responses(),
)
async def listen_to_recording(request: Request, state: State, key: KeyInHeaders) -> Response:
    """The body is the recording, or JSON with a `url`; what is wanted stands in the query.

    Programs written for Deepgram work with another address; errors have its `err_code` and `err_msg`.
    """
    request_id = str(uuid.uuid4())
    try:
        caller = allowed(await identify(request, state, key), Scope.TRANSCRIBE)
        return await _answer(request, state, caller, request_id)
    except KikitoriError as exc:
        return _refusal(exc, request_id)


async def _answer(request: Request, state: WebState, caller: Caller, request_id: str) -> Response:
    wanted, created, sha256 = read_recorded(request.query_params.multi_items()), _now(), hashlib.sha256()
    async with AsyncExitStack() as held:
        held.enter_context(state.calls.place(caller.id))
        path, size = await held.enter_async_context(_recording(request, state, wanted, sha256))
        work = transcribing(state.services, path, size, wanted.options, wanted.model)
        events = await held.enter_async_context(aclosing(work))
        async with while_connected(request.receive):
            transcript = await finished(events)
        about = About(request_id=request_id, model=transcript.model, engine=transcript.engine)
        write = partial(_body, transcript, wanted, about, sha256=sha256.hexdigest(), created=created)
        body = await anyio.to_thread.run_sync(write, limiter=state.render_threads)
    return Response(body, media_type=JSON_TYPE, headers={REQUEST_HEADER: request_id})


def _body(transcript: Transcript, wanted: Recorded, about: About, **facts: str) -> bytes:
    return long_json_bytes(response(transcript, wanted, about, **facts))


def _digest(path: Path, sha256: Any) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, lambda: sha256)


@asynccontextmanager
async def _recording(
    request: Request, state: WebState, wanted: Recorded, sha256: Any
) -> AsyncGenerator[tuple[Path, int], None]:
    """The recording on disk, and its size; removed at the end."""
    kind = bodies.content_type(request)
    if kind.startswith("text/"):  # what a page of anybody's may send without asking
        raise bodies.unknown_type(request, "application/octet-stream", "audio/*", bodies.JSON)
    if kind in (bodies.JSON, bodies.MULTIPART):
        async with received(request, state) as recording:
            with recording.blamed():
                await anyio.to_thread.run_sync(_digest, recording.path, sha256)
                yield recording.path, recording.size_bytes
        return
    head = wav_head(wanted.format, wanted.channels) if wanted.format else b""
    async with state.uploads.receive_body(request, head=head, seen=sha256.update) as file:
        yield file.path, file.size_bytes


# Both ----------------------------------------------------------------------------------------------------------------


def _refusal(error: KikitoriError, request_id: str) -> JSONResponse:
    """In Deepgram's shape. What is no fault of the caller is raised again, and ends where such things end."""
    status, _ = status_of(error)
    if status == 500:
        raise error
    body = {"err_code": error.code, "err_msg": error.public, "request_id": request_id}
    headers = {**headers_of(error), REQUEST_HEADER: request_id}
    return JSONResponse(body, status, headers=headers)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
