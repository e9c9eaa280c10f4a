"""Events of Wyoming from a stream, bounded: the package's own reader takes whatever length it is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from wyoming.event import Event

from kikitori.errors import InvalidInput

LINE_BYTES = 64 * 1024
DATA_BYTES = 1024 * 1024
PAYLOAD_BYTES = 4 * 1024 * 1024
"""Of audio in one event: two minutes at 16 kHz."""


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None: the client has closed the connection. Raises InvalidInput."""
    try:
        line = await reader.readline()
    except ValueError as exc:
        raise _wrong(f"The head of an event is over {LINE_BYTES:,} bytes.") from exc
    if not line:
        return None
    head = _object(line)
    kind = head.get("type")
    if not isinstance(kind, str):
        raise _wrong("An event has no type.")
    try:
        data = head.get("data") or {}
        if size := _length(head, "data_length", DATA_BYTES):
            data = {**data, **_object(await reader.readexactly(size))}
        payload = None
        if size := _length(head, "payload_length", PAYLOAD_BYTES):
            payload = await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        return None  # it went away in the middle
    if not isinstance(data, dict):
        raise _wrong("The data of an event is no object.")
    return Event(type=kind, data=data, payload=payload)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _wrong("An event is no JSON.") from exc
    if not isinstance(value, dict):
        raise _wrong("An event is no object.")
    return value


def _length(head: dict[str, Any], name: str, most: int) -> int:
    value = head.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _wrong(f"{name} of an event is not a number up to {most:,}.")
    return value


def _wrong(problem: str) -> InvalidInput:
    return InvalidInput(problem, remedy="Send events as the package wyoming writes them.")
