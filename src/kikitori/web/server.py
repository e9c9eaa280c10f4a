"""The life of the server process: bind, build, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from types import FrameType

import uvicorn

from kikitori.errors import InvalidInput
from kikitori.logs import configure_logging
from kikitori.services.opening import open_services
from kikitori.services.parts import Services
from kikitori.settings import Settings
from kikitori.web import binding
from kikitori.web.app import create_app, make_uploads
from kikitori.web.memory import keep_what_is_there, return_free_memory, trimmed_memory
from kikitori.web.sockets.keepalive import PatientWebSocket
from kikitori.web.state import state_of_app

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line with its headers."""
MAX_FRAME_BYTES = 32 * 1024 * 1024
"""Of a WebSocket: 15 MiB of audio in base64, with room to say that more is too much."""
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep idle connections, so that they are the ones who close."""
UNWIND_SECONDS = 5.0
"""What cancelled requests may take to let go of their files and decodings."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

OpenServices = Callable[[Settings, Callable[[bool], None]], AbstractAsyncContextManager[Services]]


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None] = lambda url: None,
    opener: OpenServices = open_services,
) -> None:
    """Serve until SIGTERM or Ctrl-C, drain, and return.

    ``on_ready`` gets the address as soon as requests are answered. Raises KikitoriError when the
    server cannot start: its port in use, a network without keys, a database out of reach.
    """
    configure_logging(settings.log_format, settings.log_level)
    return_free_memory()
    _check_tls(settings)
    sockets = binding.open_sockets(settings.host, settings.port)
    process = _Process()
    try:
        loop_factory = uvicorn.Config("", log_config=None).get_loop_factory()
        with process.stop_signals(), asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(process.run(settings, sockets, on_ready, opener))
    finally:
        for each in sockets:
            each.close()


class Server(uvicorn.Server):
    """uvicorn, with signals and readiness that are ours."""

    def __init__(self, services: Services, *, on_ready: Callable[[], None] = lambda: None) -> None:
        settings = services.settings
        app = create_app(services)
        self._sockets = state_of_app(app).sockets
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",  # bounds the head of a request, which httptools does not
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                lifespan="off",  # services are opened and closed around the server
                log_config=None,  # logs.py
                access_log=False,  # middleware.RequestLog
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds),
                ws=PatientWebSocket,
                ws_max_size=MAX_FRAME_BYTES,
                ws_per_message_deflate=False,  # its memory, a quarter of a megabyte a socket, buys little for audio
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        self._services, self._on_ready = services, on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing: uvicorn would raise a signal again at the end, and the process would die of it."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Not ready any more, and what still has a connection sees it; tasks are another node's, or a later start's.
        self._services.drain()
        logger.info("draining", extra={"action": "draining", "running": len(self.server_state.tasks)})
        # Sockets first: uvicorn would close them at once, before their last words.
        began = time.monotonic()
        await self._sockets.drain(self._services.settings.shutdown_grace_seconds)
        used = math.floor(time.monotonic() - began)
        self.config.timeout_graceful_shutdown = max(1, (self.config.timeout_graceful_shutdown or 0) - used)
        # Stop accepting, wait for requests that run, cancel them after the grace time.
        await super().shutdown(sockets)
        # Cancelled requests still let go of what they hold.
        if running := set(self.server_state.tasks):
            await asyncio.wait(running, timeout=UNWIND_SECONDS)


class _Process:
    """Signals and the server they stop."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._starting: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    async def run(
        self,
        settings: Settings,
        sockets: list[socket.socket],
        on_ready: Callable[[str], None],
        opener: OpenServices,
    ) -> None:
        self._loop, self._starting = asyncio.get_running_loop(), asyncio.current_task()
        url = binding.shown_url(sockets, tls=settings.tls_cert is not None)
        try:
            async with trimmed_memory(), opener(settings, partial(_admit, settings)) as services:
                await asyncio.to_thread(make_uploads(settings).remove_leftovers)
                self._server = Server(services, on_ready=lambda: _ready(url, on_ready))
                if not self._stopped:
                    await self._server.serve(sockets)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        logger.info("stopped", extra={"action": "stopped"})

    @contextmanager
    def stop_signals(self) -> Generator[None, None, None]:
        """Ours from the start, and the old ones back at the end. Only the main thread may take signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True
        if self._server is not None:
            self._server.handle_exit(number, frame)
        elif self._loop is not None and self._starting is not None:
            self._loop.call_soon_threadsafe(self._starting.cancel)


def _ready(url: str, on_ready: Callable[[str], None]) -> None:
    keep_what_is_there()
    logger.info("listening", extra={"action": "listening", "url": url})
    on_ready(url)


def _admit(settings: Settings, has_keys: bool) -> None:
    binding.require_private(settings.host, has_keys=has_keys, insecure=settings.insecure)


def _check_tls(settings: Settings) -> None:
    """Raise InvalidInput unless both files of TLS are there and belong together, or neither is set."""
    certificate, key = settings.tls_cert, settings.tls_key
    if certificate is None and key is None:
        return
    for name, path in (("tls_cert", certificate), ("tls_key", key)):
        if path is None:
            raise InvalidInput(f"{name} is not set.", remedy="HTTPS needs both tls_cert and tls_key.", param=name)
        if not path.is_file():
            raise InvalidInput(f"{name}: there is no file {path}.", remedy="Name a PEM file.", param=name)
    assert certificate is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as exc:
        raise InvalidInput(
            f"The certificate {certificate} and the key {key} cannot be used: {exc}.",
            remedy="Both must be PEM files, and belong together.",
            param="tls_cert",
        ) from exc
