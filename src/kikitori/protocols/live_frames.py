"""Text frames of the plain WebSocket: JSON objects in and out."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from kikitori.errors import Busy, InvalidInput, InvalidOption, KikitoriError
from kikitori.protocols.actions import Send

AudioId: TypeAlias = str | int
"""A client's name for one of several streams of audio; answers carry it as it came."""

LONGEST_ID = 128
"""Characters of an ``audio_id`` or an ``id``."""


def read_object(frame: str, *, example: str = '{"type":"end"}') -> dict[str, Any]:
    """The JSON object of a text frame; ``example`` is one that the protocol knows. Raises InvalidInput."""
    try:
        message = json.loads(frame, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        reason = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise InvalidInput(
            f"The frame is no JSON ({reason}).", remedy=f"Send one JSON object, such as {example}."
        ) from exc
    if not isinstance(message, dict):
        raise InvalidInput("The frame is JSON, but no object.", remedy=f"Send one object, such as {example}.")
    return message


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def frame(kind: str, *, slot: str = "", **fields: Any) -> Send:
    """A frame for the client; fields that are None are left out."""
    message = {"type": kind, **{name: value for name, value in fields.items() if value is not None}}
    text = json.dumps(message, ensure_ascii=False)
    if any("\ud800" <= character <= "\udfff" for character in text):  # halves of characters are no UTF-8
        text = json.dumps(message)
    return Send(text=text, slot=slot)


def error_frame(error: KikitoriError, **fields: Any) -> Send:
    """What is wrong, what to do, and which field it is about."""
    wait = error.retry_after if isinstance(error, Busy) else None
    return frame("error", message=error.public, code=error.code, param=error.param, retry_after=wait, **fields)


def read_id(message: Mapping[str, Any], name: str) -> AudioId | None:
    """A client's own name for something, or None. Raises InvalidOption."""
    value = message.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not 0 < len(str(value)) <= LONGEST_ID:
        raise InvalidOption(name, value, f"a text of 1 to {LONGEST_ID} characters, or a whole number")
    return value


def read_audio(content: object) -> bytes:
    """The bytes behind base64; line breaks and missing padding are forgiven. Raises InvalidOption."""
    if not isinstance(content, str):
        raise InvalidOption("content", content, "audio in base64")
    text = "".join(content.split())
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidOption("content", content, f"audio in base64 ({exc})") from exc
