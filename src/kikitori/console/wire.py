"""The socket of a run: ours as a seam, and the real one."""

from __future__ import annotations

import ssl
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kikitori.console.api import trust
from kikitori.console.target import Target

OPEN_SECONDS = 10.0
CLOSE_SECONDS = 2.0
PING_SECONDS = 20.0
FRAME_BYTES = 64 * 1024 * 1024
"""Of a message of the server: a segment with its words, and the whole text at the end."""


class Lost(Exception):
    """Nobody is there, or not any more. ``final``: it makes no sense to try again."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final


class Wire(Protocol):
    """A WebSocket. Every verb raises Lost."""

    def send(self, frame: str | bytes) -> None: ...

    def receive(self, seconds: float) -> str | None:
        """The next text; None: nothing came for so long."""
        ...

    def close(self) -> None: ...


class SocketWire:
    """A WebSocket to the server. Raises Lost."""

    def __init__(self, target: Target, key: str) -> None:
        address = socket_url(target.url)
        context = _trusting(target, address)
        try:
            self._socket: ClientConnection = connect(
                address,
                additional_headers={"authorization": f"Bearer {key}"} if key else None,
                ssl=context,
                proxy=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=None,  # a server that computes may be slow to answer, and is alive
                max_size=FRAME_BYTES,
                compression=None,
            )
        except InvalidStatus as exc:
            status = exc.response.status_code
            raise Lost(f"The server answered {status}.", final=status in (401, 403, 404)) from exc
        except (OSError, InvalidHandshake, TimeoutError) as exc:
            raise Lost(f"The server does not answer ({type(exc).__name__}).") from exc

    def send(self, frame: str | bytes) -> None:
        try:
            self._socket.send(frame)
        except ConnectionClosed as exc:
            raise _lost(exc) from exc

    def receive(self, seconds: float) -> str | None:
        try:
            received = self._socket.recv(timeout=seconds)
        except TimeoutError:
            return None
        except ConnectionClosed as exc:
            raise _lost(exc) from exc
        return received if isinstance(received, str) else None

    def close(self) -> None:
        self._socket.close()


FINAL_CODES = (1008, 1009)
"""A key that is wrong, a file that is too large: the same again would end the same."""


def _lost(exc: ConnectionClosed) -> Lost:
    code = exc.rcvd.code if exc.rcvd else None
    reason = exc.rcvd.reason if exc.rcvd else ""
    return Lost(reason or "The connection was lost.", final=code in FINAL_CODES)


def _trusting(target: Target, address: str) -> ssl.SSLContext | None:
    if not address.startswith("wss:"):
        return None
    return trust(target.certificate) if target.certificate else ssl.create_default_context()


def socket_url(url: str) -> str:
    """``https://host/kikitori`` → ``wss://host/kikitori/ws``."""
    parts = urlsplit(url)
    return urlunsplit(("wss" if parts.scheme == "https" else "ws", parts.netloc, f"{parts.path}/ws", "", ""))
