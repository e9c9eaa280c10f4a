"""What the routes share: the services, and the little that belongs to HTTP alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from kikitori.media.guard import Guard
from kikitori.services import Services
from kikitori.web.limits import CallLimit
from kikitori.web.recent import Recent
from kikitori.web.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class WebState:
    """One for each app."""

    services: Services
    uploads: Uploads
    guard: Guard
    """Where links of clients may lead."""
    calls: CallLimit
    supported: Recent
    """Models with options that were found to fit."""
    render_threads: anyio.CapacityLimiter
    """Long transcripts are written out on threads, so that nobody waits for them."""
    open_without_keys: bool
    """Nobody needs a key while there is none: only on loopback, or when the operator insists."""


def attach(app: FastAPI, state: WebState) -> None:
    app.state.web = state


def state_of(connection: HTTPConnection) -> WebState:
    """That of a request or of a WebSocket."""
    state = connection.app.state.web
    assert isinstance(state, WebState)
    return state


State = Annotated[WebState, Depends(state_of)]
