"""How a socket is closed, whichever pump served it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from kikitori.protocols.actions import Close
from kikitori.web.sockets.writer import SlowReader

logger = logging.getLogger(__name__)

SLOW, BROKEN = 1008, 1011
LAST_SECONDS = 1.0
"""For the last word to a client that takes nothing."""


async def part(
    socket: WebSocket, closing: Close | None, *, writing: asyncio.Task[None], reading: asyncio.Task[None]
) -> None:
    """Close ``socket`` for the reason it ends: ``closing``, a client that is too slow or gone, or a fault of ours."""
    if closing is not None:
        await asyncio.wait([writing])
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(closing.code, closing.reason)
    if writing.done() and not writing.cancelled() and isinstance(writing.exception(), SlowReader):
        logger.info("socket too slow", extra={"action": "socket_slow"})
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await socket.close(SLOW, "Too slow.")
    elif reading.done() and not reading.cancelled() and (error := reading.exception()) is not None:
        if not isinstance(error, WebSocketDisconnect):
            logger.error("socket failed", exc_info=error, extra={"action": "socket_failed"})
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(BROKEN, "Something went wrong here.")
