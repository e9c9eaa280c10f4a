"""Who opens a socket. Browsers can set no header on one, so the key may come in three more ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Protocol

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from kikitori.errors import Busy, InvalidInput, KikitoriError, Unauthorized
from kikitori.protocols.actions import Action, Close, Send
from kikitori.store.keys import Scope
from kikitori.web.auth import Caller, allowed, identify, socket_secret
from kikitori.web.state import WebState

KEY_PROTOCOLS = ("openai-insecure-api-key.", "kikitori-api-key.")
"""Subprotocols that carry a key behind the point."""
AUTH_SECONDS = 10.0
"""For the message with the key, when nothing else brought one."""
AUTH_BYTES = 4_096
REFUSED, FULL = 1008, 1013


class Refusing(Protocol):
    """A codec, as far as it says no."""

    def failed(self, error: KikitoriError, /) -> Sequence[Action]: ...


def offered(connection: HTTPConnection) -> list[str]:
    """The subprotocols that the client speaks."""
    lists = connection.headers.getlist("sec-websocket-protocol")
    return [item.strip() for text in lists for item in text.split(",") if item.strip()]


def key_of(connection: HTTPConnection) -> str:
    """The key that the opening of a socket carries; empty: none."""
    for item in offered(connection):
        for prefix in KEY_PROTOCOLS:
            if item.startswith(prefix):
                return item.removeprefix(prefix)
    return socket_secret(connection)


def chosen(connection: HTTPConnection, *, preferred: Sequence[str] = ()) -> str | None:
    """The subprotocol to answer with: browsers want one of those they offered. Keys are not repeated if it can be."""
    items = offered(connection)
    spoken = [item for item in items if not item.startswith(KEY_PROTOCOLS)]
    return next((item for item in preferred if item in items), next(iter(spoken or items), None))


async def admitted(websocket: WebSocket, state: WebState) -> Caller:
    """Accept the socket; who opened it and may transcribe. Raises Unauthorized, Forbidden."""
    await websocket.accept(subprotocol=chosen(websocket))
    secret = key_of(websocket)
    if not secret and await state.services.keys.any():
        secret = await _first_message(websocket)
    return allowed(await identify(websocket, state, secret), Scope.TRANSCRIBE)


async def refuse(websocket: WebSocket, codec: Refusing, error: KikitoriError) -> None:
    """Say why, in the words of the protocol, and close."""
    code, reason = FULL if isinstance(error, Busy) else REFUSED, error.code
    try:
        for action in codec.failed(error):
            if isinstance(action, Send):
                await websocket.send_text(action.text)
            elif isinstance(action, Close):
                code, reason = action.code, action.reason or reason
        await websocket.close(code, reason)
    except (RuntimeError, WebSocketDisconnect):
        pass  # it has left already


async def _first_message(websocket: WebSocket) -> str:
    """The key in ``{"type": "auth", "api_key": "…"}``. Raises Unauthorized."""
    try:
        async with asyncio.timeout(AUTH_SECONDS):
            message = await websocket.receive()
    except TimeoutError as exc:
        raise Unauthorized("The API key is missing.", remedy=_REMEDY) from exc
    text = message.get("text") or ""
    try:
        content = json.loads(text) if len(text) <= AUTH_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("type") != "auth" or not isinstance(content.get("api_key"), str):
        raise Unauthorized("The API key is missing.", remedy=_REMEDY)
    key: str = content["api_key"]
    if not key:
        raise InvalidInput("api_key is empty.", remedy=_REMEDY, param="api_key")
    return key


_REMEDY = 'Send it as `Authorization: Bearer KEY`, or as the first message: {"type":"auth","api_key":"KEY"}.'
