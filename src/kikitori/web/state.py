"""What the routes share: the services, and the little that belongs to HTTP alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import anyio
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from kikitori.media.guard import Guard
from kikitori.services.parts import Services
from kikitori.web.limits import CallLimit
from kikitori.web.peak_memory import PeakMemory
from kikitori.web.recent import Recent
from kikitori.web.uploads import Uploads

if TYPE_CHECKING:
    from kikitori.web.sockets.house import Sockets


@dataclass(frozen=True, slots=True, kw_only=True)
class WebState:
    """One for each app."""

    services: Services
    uploads: Uploads
    guard: Guard
    """Where links of clients may lead."""
    calls: CallLimit
    streams: CallLimit
    """Of events of tasks: they last long and do little."""
    sockets: Sockets
    supported: Recent
    """Models with options that were found to fit."""
    render_threads: anyio.CapacityLimiter
    """Long transcripts are written out on threads, so that nobody waits for them."""
    open_without_keys: bool
    """Nobody needs a key while there is none: only on loopback, or when the operator insists."""
    peaks: PeakMemory = field(default_factory=PeakMemory)


def attach(app: FastAPI, state: WebState) -> None:
    app.state.web = state


def state_of(connection: HTTPConnection) -> WebState:
    """That of a request or of a WebSocket."""
    return state_of_app(connection.app)


def state_of_app(app: FastAPI) -> WebState:
    state = app.state.web
    assert isinstance(state, WebState)
    return state


State = Annotated[WebState, Depends(state_of)]
