"""Errors as HTTP answers, in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``.

One table gives each of our errors its status and type; the class found first along the MRO
decides. What is not one of ours becomes a 500 that says nothing but the request id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from kikitori.errors import (
    Busy,
    Conflict,
    DecodingCancelled,
    Forbidden,
    InvalidInput,
    KikitoriError,
    NotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
)

logger = logging.getLogger(__name__)

STATUSES: dict[type[KikitoriError], tuple[int, str]] = {
    InvalidInput: (400, "invalid_request_error"),
    Unauthorized: (401, "invalid_request_error"),
    Forbidden: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    Conflict: (409, "invalid_request_error"),
    TooLarge: (413, "invalid_request_error"),
    Busy: (429, "rate_limit_error"),
    Unavailable: (503, "server_error"),
    DecodingCancelled: (503, "server_error"),  # the caller is still there, so it was the server that gave up
    KikitoriError: (500, "server_error"),
}

RETRY_LATER_SECONDS = 5.0
"""Retry-After of a 503: loading a model takes about this long."""


RESTARTING_CLOSE = 1012
FAILED_CLOSE = 1011


def close_code_of(error: KikitoriError) -> int:
    """The code that a WebSocket closes with: 4000 + the HTTP status."""
    status, _ = status_of(error)
    return FAILED_CLOSE if status == 500 else 4_000 + status


def status_of(error: KikitoriError) -> tuple[int, str]:
    """The HTTP status of ``error`` and its OpenAI type."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def error_body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """Halves of characters, which a message may repeat, are no UTF-8."""
    named = param and param.encode(errors="replace").decode()
    return {"error": {"message": message.encode(errors="replace").decode(), "type": kind, "param": named, "code": code}}


def body_of(error: KikitoriError) -> dict[str, object]:
    """``error`` as the JSON that a client gets, in an answer or in the middle of a stream."""
    status, kind = status_of(error)
    if status == 500:
        return internal_body("")
    return error_body(error.public, kind, param=error.param, code=error.code)


def internal_body(request_id: str) -> dict[str, object]:
    """Something of ours broke: the caller gets a number, the log gets the rest."""
    about = f" Its id in the log is {request_id}." if request_id else ""
    return error_body(f"The server failed on this request.{about}", "server_error", code="internal_error")


def stopping_body() -> dict[str, object]:
    return error_body("The server is shutting down. Try again.", "server_error", code="shutting_down")


def error_response(error: KikitoriError) -> JSONResponse:
    status, _ = status_of(error)
    return JSONResponse(body_of(error), status, headers=headers_of(error))


def headers_of(error: KikitoriError) -> dict[str, str]:
    status, _ = status_of(error)
    if status == 401:
        return {"www-authenticate": "Bearer"}
    if status in (429, 503):
        seconds = error.retry_after if isinstance(error, Busy) else RETRY_LATER_SECONDS
        return {"retry-after": str(max(1, math.ceil(seconds)))}
    return {}


def install_error_handlers(app: FastAPI) -> None:
    """Every error that a route raises, and those of the router itself, in one shape."""
    app.add_exception_handler(KikitoriError, _own_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _own_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, KikitoriError)
    status, _ = status_of(exc)
    if status == 500:
        raise exc
    if status >= 500:
        logger.warning(
            "request could not be served", extra={"action": "unavailable", "code": exc.code, "reason": str(exc)}
        )
    return error_response(exc)


async def _validation_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    first: Mapping[str, Any] = exc.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    param = ".".join(where) or None
    message = f"{param}: {first['msg']}." if param else f"{first['msg']}."
    return JSONResponse(error_body(message, "invalid_request_error", param=param, code="invalid_value"), 400)


async def _http_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    message, code = {
        404: (
            f"There is no {request.method} {_shortened(request.url.path)} here. /docs lists what there is.",
            "not_found",
        ),
        405: (f"{request.method} is not allowed on {_shortened(request.url.path)}.", "method_not_allowed"),
    }.get(exc.status_code, (str(exc.detail), None))
    kind = "server_error" if exc.status_code >= 500 else "invalid_request_error"
    return JSONResponse(error_body(message, kind, code=code), exc.status_code, headers=exc.headers)


def _shortened(path: str) -> str:
    return path if len(path) <= 100 else path[:99] + "…"
