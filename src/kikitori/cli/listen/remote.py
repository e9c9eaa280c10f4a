"""Listening on a running server: ``--url``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from kikitori.cli.api import NEAR, error_from, server_address, unanswered
from kikitori.cli.listen.captions import Caption, Told
from kikitori.cli.listen.conversation import Conversation, State, Step, Transmit
from kikitori.cli.listen.sounds import WIDTHS, Sound
from kikitori.errors import KikitoriError, Unavailable

PATH = "stt/websocket"
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 1.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 5.0
AWAY_SECONDS = 120.0
"""A server that was there is tried for so long."""
MOST_UNSAFE_SECONDS = 300.0
"""More audio than this is not taken while the server does not confirm any."""
SILENT_SECONDS = 120.0
"""A server that says nothing for so long after the end has forgotten us."""


class RemoteSource:
    """A server's plain WebSocket; the connection may break, the captions go on."""

    def __init__(
        self,
        url: str,
        api_key: str,
        start: Mapping[str, Any],
        *,
        first_wait: float = FIRST_WAIT_SECONDS,
        away: float = AWAY_SECONDS,
    ) -> None:
        address = server_address(url)
        self._address = address
        self._url = str(address.copy_with(scheme=address.scheme.replace("http", "ws")).join(PATH))
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._start, self._first_wait, self._away = start, first_wait, away

    async def captions(self, sound: Sound) -> AsyncGenerator[Caption, None]:
        frames = sound.frames()
        async with aclosing(frames):
            first = await anext(frames, b"")  # the microphone knows its rate when it has begun
            line = Conversation(
                start={"resumable": True, **self._start, "encoding": sound.encoding, "sample_rate": sound.rate},
                width=WIDTHS[sound.encoding],
                rate=sound.rate,
            )
            call = _Call(line, self._connected)
            work = [
                asyncio.create_task(call.speak(first, frames)),
                asyncio.create_task(call.listen(self._first_wait, self._away)),
            ]
            try:
                while (caption := await call.captions.get()) is not None:
                    yield caption
            finally:
                for task in work:
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)
            if call.failure is not None:
                raise call.failure

    async def _connected(self) -> ClientConnection:
        """Raises KikitoriError: what the server said, or that it does not answer."""
        direct = self._address.host in (host.strip("[]") for host in NEAR)
        try:
            return await connect(
                self._url,
                additional_headers=self._headers,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                proxy=None if direct else True,
            )
        except InvalidStatus as exc:
            raise _refusal(exc) from exc
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as exc:
            raise Away(**unanswered(self._address, exc)) from exc


class Away(Unavailable):
    """It may come back."""


class _Call:
    """One conversation over as many sockets as it takes."""

    def __init__(self, line: Conversation, connected: Callable[[], Awaitable[ClientConnection]]) -> None:
        self._line, self._connected = line, connected
        self.captions: asyncio.Queue[Caption | None] = asyncio.Queue()
        """None: there are no more."""
        self.failure: KikitoriError | None = None
        self._outbox: asyncio.Queue[str | bytes] | None = None
        """Of the socket that is open."""
        self._confirmed = asyncio.Event()

    async def speak(self, first: bytes, frames: AsyncGenerator[bytes, None]) -> None:
        """Take sound in, whether there is a socket or not."""
        try:
            self._do(self._line.feed(first))
            async for data in frames:
                self._do(self._line.feed(data))
                while self._line.unsafe_seconds > MOST_UNSAFE_SECONDS:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except KikitoriError as exc:
            self.failure = exc
        self._do(self._line.end())

    async def listen(self, first_wait: float, away: float) -> None:
        """Until everything was heard, or nothing can be any more."""
        try:
            await self._keep_connected(first_wait, away)
        except KikitoriError as exc:
            self.failure = exc
        finally:
            self.captions.put_nowait(None)

    async def _keep_connected(self, first_wait: float, away: float) -> None:
        loop = asyncio.get_running_loop()
        wait, seen = first_wait, None
        while True:
            try:
                socket = await self._connected()
            except Away:
                if seen is None or loop.time() - seen > away:
                    raise
            else:
                if seen is not None:
                    self.captions.put_nowait(Told(message="Connected again."))
                await self._converse(socket)
                if self._line.state is State.OVER:
                    return
                wait, seen = first_wait, loop.time()
                self.captions.put_nowait(Told(message="The connection is lost. Trying again.", problem=True))
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def _converse(self, socket: ClientConnection) -> None:
        """One socket, until it is closed or all is said. Raises Unavailable."""
        self._outbox = asyncio.Queue()
        sending = asyncio.create_task(_send(socket, self._outbox))
        greeted = False
        try:
            self._do(self._line.connected())
            while self._line.state is not State.OVER:
                async with asyncio.timeout(SILENT_SECONDS if self._line.ending else None):
                    frame = await socket.recv()
                self._do(self._line.receive(_read(frame)))
                greeted = greeted or self._line.state is State.OPEN
                self._confirmed.set()
        except TimeoutError as exc:
            raise Unavailable("The server has stopped answering.", remedy="Check its log.") from exc
        except ConnectionClosed as exc:
            if not greeted:
                reason = exc.rcvd.reason if exc.rcvd else "no reason"
                raise Unavailable(f"The server closed the connection ({reason}).", remedy="Check its log.") from exc
        finally:
            self._outbox = None
            self._line.disconnected()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close()

    def _do(self, steps: Iterable[Step]) -> None:
        try:
            for step in steps:
                if not isinstance(step, Transmit):
                    self.captions.put_nowait(step)
                elif self._outbox is not None:
                    self._outbox.put_nowait(step.frame)
        except (KeyError, TypeError, ValueError) as exc:
            raise _no_kikitori() from exc


async def _send(socket: ClientConnection, outbox: asyncio.Queue[str | bytes]) -> None:
    """A server that does not read holds this back, and nothing else."""
    with suppress(ConnectionClosed):  # the reader sees it too
        while True:
            await socket.send(await outbox.get())


def _read(frame: str | bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(frame)
    except ValueError as exc:
        raise _no_kikitori() from exc
    if not isinstance(message, dict):
        raise _no_kikitori()
    return message


def _no_kikitori() -> Unavailable:
    return Unavailable("The server says what no Kikitori server says.", remedy="Check --url.")


def _refusal(exc: InvalidStatus) -> KikitoriError:
    """What the server says is wrong, as one of our errors."""
    response = exc.response
    try:
        error = json.loads(response.body or b"")["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": f"The server answered {response.status_code} {response.reason_phrase}."}
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Away(str(error.get("message")), remedy="Check the server's log.")
    return error_from(response.status_code, error, response.headers.get("retry-after"))
