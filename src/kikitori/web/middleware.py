"""What surrounds every request: its id, its line in the log, its metrics, and the last resort.

Plain ASGI, folded in order by ``app.create_app``: anything that wraps a response in a task of
its own would hide from the routes that the client has gone away.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kikitori.logs import current_ids, log_ids
from kikitori.metrics import Metrics
from kikitori.web.disconnect import ClientGone
from kikitori.web.errors import internal_body, stopping_body

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"
CLIENT_GONE_STATUS = 499
_SAFE_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
QUIET_ROUTES = ("/health", "/health/live", "/health/ready", "/metrics")
"""Asked every few seconds by machines: logged at debug."""


class RequestLog:
    """Gives each request an id (the client's own, when it sent a usable one) and counts and logs how it ended."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID_HEADER, ""))
        status = CLIENT_GONE_STATUS
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        self.metrics.request_began()
        with log_ids(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientGone:
                status = CLIENT_GONE_STATUS
            finally:
                self._ended(scope, status, time.perf_counter() - began)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.request_ended(route, status, seconds)
        logger.log(
            logging.DEBUG if route in QUIET_ROUTES and status < 400 else logging.INFO,
            "client gone" if status == CLIENT_GONE_STATUS else "request",
            extra={
                "action": "client_gone" if status == CLIENT_GONE_STATUS else "request",
                "method": scope["method"],
                "path": scope["path"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 4),
                "client": (scope.get("client") or ("unknown",))[0],
            },
        )


class LastResort:
    """An error that nobody expected: a 500 with the request id for the client, the trace for the log.

    A request that shutdown cancels is told to come back, instead of being cut off.
    """

    def __init__(self, app: ASGIApp, *, draining: Callable[[], bool]) -> None:
        self.app = app
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except ClientGone:
            raise
        except asyncio.CancelledError:
            if not self.draining():
                raise
            logger.warning("request cancelled by shutdown", extra={"action": "request_cancelled"})
            if not started:
                await _stopping()(scope, receive, send)
        except Exception:  # the one place where everything unforeseen ends, so that it is logged with its request
            logger.exception("request failed", extra={"action": "request_failed"})
            if started:
                return  # too late for an answer; uvicorn cuts the connection of one that was not finished
            body = internal_body(current_ids().get("request_id", ""))
            await JSONResponse(body, 500)(scope, receive, send)


def _request_id(given: str) -> str:
    return given if _SAFE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _stopping() -> JSONResponse:
    return JSONResponse(stopping_body(), 503, headers={"retry-after": "5", "connection": "close"})
