"""Small request bodies: JSON objects and forms without files, bounded while they come."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request

from kikitori.errors import InvalidInput, TooLarge
from kikitori.web.disconnect import ClientGone
from kikitori.web.multipart import MAX_FIELD_BYTES, Fields, plain_name

MAX_BODY_BYTES = MAX_FIELD_BYTES
"""As much as the fields of a form with a file; a list of clip times can be long."""
MAX_LONG_BYTES = 4 * 1024 * 1024
"""A thousand links, each with options; or what was said so far in a chat. Takes a moment to read."""
MAX_FIELDS = 1_000

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def content_type(request: Request) -> str:
    """Without its parameters; ``application/json`` stands for all that end with ``+json``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return JSON if kind.endswith("+json") else kind


def unknown_type(request: Request, *allowed: str) -> InvalidInput:
    sent = request.headers.get("content-type", "").partition(";")[0].strip()[:80] or "no content type"
    return InvalidInput(f"The request body is {sent}.", remedy=f"Send {' or '.join(allowed)}.")


async def json_object(request: Request, *, most: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidInput, TooLarge, ClientGone."""
    body = await _read(request, most)
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        reason = f" ({exc})" if isinstance(exc, json.JSONDecodeError) else ""
        raise InvalidInput(f"The body is not JSON{reason}.", remedy='Send an object: {"url": "https://…"}.') from exc
    if not isinstance(value, dict):
        raise InvalidInput("The body is JSON, but no object.", remedy='Send an object: {"url": "https://…"}.')
    return value


async def form_fields(request: Request) -> Fields:
    """The body as the fields of a form without files. Raises InvalidInput, TooLarge, ClientGone."""
    body = await _read(request, MAX_BODY_BYTES)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as exc:
        raise InvalidInput("The body is not a form in UTF-8.", remedy="Let your HTTP client build it.") from exc
    return Fields(tuple((plain_name(name), value) for name, value in pairs))


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > most:
            raise TooLarge(f"The body is over {most:,} bytes.", remedy="Send it in parts.")
        more = message.get("more_body", False)
    return bytes(body)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
