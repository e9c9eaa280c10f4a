"""Answers that come before the request was read to its end, such as 401 or 413, reach their client.

Closing a connection on which the client still sends resets it, and the reset may destroy the
answer on its way. So the answer goes out, what still comes is thrown away for a while, and then
the connection is closed.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS = 10.0


class LingeringClose:
    def __init__(self, app: ASGIApp, *, seconds: float = LINGER_SECONDS) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        await self.app(scope, exchange.receive, exchange.send)
        if exchange.cut_short:
            if exchange.read_any or Headers(scope=scope).get("expect", "").lower() != "100-continue":
                await self._discard(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard(self, receive: Receive) -> None:
        try:
            async with asyncio.timeout(self.seconds):
                more = True
                while more:
                    message = await receive()
                    more = message["type"] == "http.request" and message.get("more_body", False)
                    await asyncio.sleep(0)  # also when everything is here already, others have their turn
        except TimeoutError:
            pass  # a client that sends on and on has had its time to read


class _Exchange:
    """One request and its answer, watched."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.cut_short = False
        """The whole answer is out, but for the empty piece that ends it, and the request is not all in."""
        self.read_any = False
        self._read_all = False
        self._early = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        message = await self._receive()
        self.read_any = True
        self._read_all = message["type"] == "http.disconnect" or not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._read_all:
            self._early = True
            MutableHeaders(scope=message)["connection"] = "close"
        if self._early and message["type"] == "http.response.body" and not message.get("more_body"):
            self.cut_short = True
            message = {**message, "more_body": True}
        await self._send(message)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
