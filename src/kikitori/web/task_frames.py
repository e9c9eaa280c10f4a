"""Task events on the wire: server-sent events, and the same as JSON over a WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from kikitori.errors import KikitoriError
from kikitori.web.answers import json_bytes
from kikitori.web.errors import FAILED_CLOSE, RESTARTING_CLOSE, body_of, close_code_of, internal_body, stopping_body
from kikitori.web.streaming import WAITING_FRAME, data_frame, told_to_the_end
from kikitori.web.task_stream import Told

logger = logging.getLogger(__name__)

RETRY_FRAME = b"retry: 2000\n\n"
"""Milliseconds after which a browser comes back on its own."""
ENDED_CLOSE = 1000


def event_frame(told: Told) -> bytes:
    return f"id: {told.id}\nevent: {told.event}\n".encode() + data_frame(told.data)


def frames(
    events: AsyncGenerator[Told | None, None], *, stopping: Callable[[], bool] = lambda: False
) -> AsyncGenerator[bytes, None]:
    """Frames until the events end, in whatever way."""
    return told_to_the_end(_written(events), stopping=stopping)


async def _written(events: AsyncGenerator[Told | None, None]) -> AsyncGenerator[bytes, None]:
    yield RETRY_FRAME
    async with aclosing(events):
        async for told in events:
            yield WAITING_FRAME if told is None else event_frame(told)


async def pump(
    socket: WebSocket, events: AsyncGenerator[Told | None, None], *, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Send events until they end or the client goes away, and close with the code that says why."""
    async with asyncio.TaskGroup() as group:
        sender = group.create_task(_send_all(socket, events, stopping))
        reader = group.create_task(_until_gone(socket))
        await asyncio.wait([sender, reader], return_when=asyncio.FIRST_COMPLETED)
        sender.cancel()
        reader.cancel()


async def refuse(socket: WebSocket, error: KikitoriError) -> None:
    """Say ``error`` on an open socket, and close it."""
    body: dict[str, Any] = body_of(error)
    await _close(socket, close_code_of(error), {"event": "error", "id": None, "data": body})


async def _send_all(socket: WebSocket, events: AsyncGenerator[Told | None, None], stopping: Callable[[], bool]) -> None:
    try:
        async with aclosing(events):
            async for told in events:
                if told is not None:  # the protocol itself has signs of life
                    await _send(socket, {"event": told.event, "id": told.id, "data": told.data})
    except KikitoriError as exc:
        await refuse(socket, exc)
    except WebSocketDisconnect:
        pass
    except Exception:  # the client is told, the log gets the trace
        logger.exception("stream failed", extra={"action": "stream_failed"})
        await _close(socket, FAILED_CLOSE, {"event": "error", "id": None, "data": internal_body("")})
    else:
        if stopping():
            await _close(socket, RESTARTING_CLOSE, {"event": "error", "id": None, "data": stopping_body()})
        else:
            await _close(socket, ENDED_CLOSE)


async def _until_gone(socket: WebSocket) -> None:
    """What the client says means nothing here; that it leaves does."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(json_bytes(message).decode())


async def _close(socket: WebSocket, code: int, last: dict[str, Any] | None = None) -> None:
    try:
        if last is not None:
            await _send(socket, last)
        await socket.close(code)
    except (WebSocketDisconnect, RuntimeError):  # it is gone already
        pass
