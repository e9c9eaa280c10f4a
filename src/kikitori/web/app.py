"""The application: composition only."""

from __future__ import annotations

import anyio
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from kikitori import __version__
from kikitori.media.guard import Guard
from kikitori.services.parts import Services
from kikitori.settings import Settings
from kikitori.web import binding, docs, openapi
from kikitori.web.errors import install_error_handlers
from kikitori.web.limits import CallLimit
from kikitori.web.lingering import LingeringClose
from kikitori.web.middleware import REQUEST_ID_HEADER, LastResort, RequestLog
from kikitori.web.recent import Recent
from kikitori.web.routes import (
    audio,
    callbacks,
    deepgram,
    file_socket,
    health,
    keys,
    live,
    live_translations,
    llm,
    media,
    models,
    pages,
    realtime_secrets,
    speech,
    spoken,
    stats,
    task_events,
    task_media,
    task_results,
    task_segments,
    tasks,
    welcome,
)
from kikitori.web.sockets.house import Sockets
from kikitori.web.sockets.waiting_room import WaitingRoom
from kikitori.web.state import WebState, attach
from kikitori.web.uploads import Uploads

RENDER_THREADS = 4
READABLE_HEADERS = (
    REQUEST_ID_HEADER,
    "content-disposition",
    "retry-after",
    "location",
    "content-disposition",
    "x-kikitori-model",
    "x-kikitori-engine",
    "x-kikitori-mode",
    "x-kikitori-ignored-fields",
)
"""What the script of another origin may read of an answer."""


def create_app(services: Services) -> FastAPI:
    """The server's application on ``services``, which its caller opens and closes."""
    app = FastAPI(
        title="Kikitori",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(services),
    )
    attach(app, _state(services))
    install_error_handlers(app)
    recordings = (audio, spoken, speech, media, tasks, task_events, task_results, task_segments, llm, callbacks)
    sockets = (deepgram, file_socket, live, live_translations)
    for part in (*recordings, task_media, stats, *sockets, realtime_secrets, models, keys, pages, welcome, health):
        app.include_router(part.router)
    docs.install(app)
    return app


def make_uploads(settings: Settings) -> Uploads:
    return Uploads(settings.data_dir / "tmp", max_bytes=settings.max_upload_bytes)


def _middleware(services: Services) -> list[Middleware]:
    """Outermost first: every answer gets an id, also those to a preflight; every error gets CORS headers."""
    settings = services.settings
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=READABLE_HEADERS,
        allow_private_network=True,  # pages of the internet that the operator named may call a server at home
    )
    return [
        Middleware(LingeringClose),
        Middleware(RequestLog, metrics=services.metrics),
        *([cors] if settings.cors_origins else []),
        Middleware(LastResort, draining=lambda: services.draining),
    ]


def _state(services: Services) -> WebState:
    settings = services.settings
    calls = CallLimit(settings.key_concurrency)
    return WebState(
        services=services,
        uploads=make_uploads(settings),
        guard=Guard.allowing(settings.allowed_addresses),
        calls=calls,
        streams=CallLimit(settings.key_streams, what="event stream"),
        sockets=Sockets(
            services.live,
            calls,
            file_room=WaitingRoom(services.file_places, most_waiting=settings.max_queue),
        ),
        supported=Recent(),
        render_threads=anyio.CapacityLimiter(RENDER_THREADS),
        open_without_keys=settings.insecure or binding.is_loopback(settings.host),
    )
