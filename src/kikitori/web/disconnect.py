"""Work that ends when the client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import Receive


class ClientGone(Exception):
    """The client closed the connection; there is nobody left to answer."""


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncGenerator[None, None]:
    """Cancel the block when the client goes away, and raise ClientGone.

    The request's body must have been read. ``asyncio.timeout`` does the cancelling: a deadline
    without a date, which the watcher moves to now. It knows how to tell its own cancelling from
    anybody else's.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as connected:
            watcher = loop.create_task(_expire_when_gone(receive, connected))
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError:
        if connected.expired():
            raise ClientGone from None
        raise


async def _expire_when_gone(receive: Receive, connected: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    connected.reschedule(asyncio.get_running_loop().time())
