"""Live speech over WebSockets: the plain protocol and OpenAI's Realtime."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, WebSocket

from kikitori.errors import KikitoriError, Unauthorized
from kikitori.protocols.actions import Open
from kikitori.protocols.live_ws import LiveSocketCodec
from kikitori.protocols.openai_realtime.codec import RealtimeCodec
from kikitori.protocols.openai_realtime.responding import Replies
from kikitori.protocols.openai_realtime.starting import SESSION_SECONDS
from kikitori.sessions.running import Recorder
from kikitori.store.client_secrets import SECRET_PREFIX
from kikitori.store.keys import Scope
from kikitori.web.auth import Caller, allowed, identify
from kikitori.web.routes.realtime_secrets import known_models
from kikitori.web.sockets.opening import admitted, chosen, key_of, offered, refuse
from kikitori.web.sockets.pump import SocketLimits
from kikitori.web.state import State, WebState

router = APIRouter(tags=["live"])

PLAIN_FRAME_BYTES = 1024 * 1024
REALTIME_PROTOCOL, BETA_PROTOCOL = "realtime", "openai-beta.realtime-v1"
BETA_HEADER = "realtime=v1"


@router.websocket("/stt/websocket")
async def plain_live(websocket: WebSocket, state: State) -> None:
    """``start``, audio, ``end``; docs/live-websocket.md has the messages."""
    codec = LiveSocketCodec(state.services.live_defaults)
    try:
        caller = await admitted(websocket, state)
    except KikitoriError as exc:
        await refuse(websocket, codec, exc)
        return
    settings = state.services.settings
    limits = SocketLimits(
        frame_bytes=PLAIN_FRAME_BYTES,
        idle_seconds=settings.live_idle_seconds,
        most_seconds=settings.live_max_seconds,
        last_words=True,
    )

    async def recorder(action: Open) -> Recorder:
        return state.services.recorder(action.options, caller.owner)

    await state.sockets.serve(websocket, codec, caller, limits, make_recorder=recorder)


@router.websocket("/v1/realtime")
async def openai_realtime(websocket: WebSocket, state: State) -> None:
    """OpenAI's Realtime protocol, in its present shape and the one before."""
    await websocket.accept(subprotocol=chosen(websocket, preferred=(REALTIME_PROTOCOL,)))
    try:
        caller, config = await _realtime_caller(websocket, state)
    except KikitoriError as exc:
        await refuse(websocket, _codec(websocket, state, None), exc)
        return
    codec = _codec(websocket, state, config)
    limits = SocketLimits(most_seconds=SESSION_SECONDS)
    state.services.replies.prepare()
    await state.sockets.serve(
        websocket,
        codec,
        caller,
        limits,
        on_expiry=codec.expired,
        replier=state.services.replies,
        on_reply=codec.told,
    )


async def _realtime_caller(websocket: WebSocket, state: WebState) -> tuple[Caller, Mapping[str, Any] | None]:
    """Who opened the socket, and how the session begins if a client secret says so. Raises Unauthorized, Forbidden."""
    secret = key_of(websocket)
    if not secret.startswith(SECRET_PREFIX):
        return allowed(await identify(websocket, state, secret), Scope.TRANSCRIBE), None
    found = await state.services.client_secrets.verify(secret)
    if found is None:
        raise Unauthorized("The client secret is wrong or has expired.", remedy="Make a new one.")
    name = f"key {found.key_id}" if found.key_id is not None else "client secret"
    return Caller(id=name, owner=found.owner, scopes=frozenset({Scope.TRANSCRIBE})), found.session


def _codec(websocket: WebSocket, state: WebState, config: Mapping[str, Any] | None) -> RealtimeCodec:
    services, query = state.services, websocket.query_params
    old = BETA_HEADER in websocket.headers.get("openai-beta", "") or BETA_PROTOCOL in offered(websocket)
    return RealtimeCodec(
        services.live_defaults,
        intent=query.get("intent", ""),
        model=query.get("model", ""),
        beta=old,
        models=known_models(services.catalog),
        now=time.time,
        session_config=config,
        replies=Replies(configured=services.replies.configured, context_tokens=services.replies.context_tokens),
    )
