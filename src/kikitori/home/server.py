"""The TCP port of Wyoming."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from kikitori.errors import Unavailable
from kikitori.home.connection import Connection
from kikitori.home.reading import LINE_BYTES
from kikitori.services.parts import Services

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 64


@asynccontextmanager
async def wyoming(services: Services, host: str, port: int) -> AsyncGenerator[int, None]:
    """Serve on ``port`` (0: a free one, which is given); at the end every connection is closed.

    Raises Unavailable when the port cannot be used.
    """
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            if len(running) <= MOST_CONNECTIONS:
                await Connection(services, reader, writer).run()
            else:
                logger.warning("wyoming full", extra={"action": "wyoming_full", "connections": MOST_CONNECTIONS})
        finally:
            running.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(serve, host, port, limit=LINE_BYTES)
    except OSError as exc:
        raise Unavailable(
            f"Port {port} of {host} cannot be used for Wyoming: {(exc.strerror or str(exc)).lower()}.",
            remedy="Choose another with --wyoming-port.",
        ) from exc
    bound = int(server.sockets[0].getsockname()[1])
    logger.info("wyoming listens", extra={"action": "wyoming_listens", "host": host, "port": bound})
    try:
        yield bound
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
