"""Items that clients put into the conversation."""

from __future__ import annotations

from typing import Any

from kikitori.protocols.openai_realtime.checks import (
    MAX_NAME,
    Check,
    Fields,
    anything,
    choice,
    flag,
    listed,
    mapping,
    nullable,
    obj,
    tagged,
    text,
)
from kikitori.protocols.openai_realtime.conversation import MAX_EVENT_BYTES, Item, decoded_audio, item_size
from kikitori.protocols.openai_realtime.problems import Problem, invalid, missing

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Audio in one event."""
MAX_TEXT = 400_000
MAX_ID = 64
STATUSES = ("completed", "incomplete", "in_progress")

_COMMON: Fields = {
    "id": text(MAX_ID),
    "type": anything,
    "object": choice("realtime.item"),
    "status": choice(*STATUSES),
}
_name, _long = text(MAX_NAME), text(MAX_TEXT)


def _no_audio(value: Any, path: str) -> Any:
    raise Problem("invalid_value", f"{path}: spoken replies cannot be put in by clients. Send their text.", path)


def _text_part(*also: str) -> Check:
    return obj({"type": anything, "text": _long, **dict.fromkeys(also, nullable(_long))}, required=("text",))


def _audio_part(value: Any, path: str) -> dict[str, Any]:
    checked: dict[str, Any] = obj(
        {"type": anything, "audio": text(MAX_APPEND_BYTES * 2), "transcript": nullable(_long)}, required=("audio",)
    )(value, path)
    return {**checked, "audio": decoded_audio(checked["audio"], f"{path}.audio", most=MAX_APPEND_BYTES)}


_image_part = obj(
    {"type": anything, "image_url": _long, "detail": choice("auto", "low", "high")}, required=("image_url",)
)
_PARTS = {
    "user": tagged({"input_text": _text_part(), "input_audio": _audio_part, "input_image": _image_part}),
    "system": tagged({"input_text": _text_part()}),
    "assistant": tagged(
        {"output_text": _text_part(), "text": _text_part(), "output_audio": _no_audio, "audio": _no_audio}
    ),
}
_FIELDS: dict[str, tuple[Fields, tuple[str, ...]]] = {
    "function_call": (
        {"name": _name, "arguments": _long, "call_id": _name},
        ("name", "arguments"),
    ),
    "function_call_output": ({"call_id": _name, "output": _long}, ("call_id", "output")),
    "mcp_approval_request": (
        {"server_label": _name, "name": _name, "arguments": _long},
        ("server_label", "name", "arguments"),
    ),
    "mcp_approval_response": (
        {"approval_request_id": _name, "approve": flag, "reason": nullable(_long)},
        ("approval_request_id", "approve"),
    ),
    "mcp_list_tools": ({"server_label": _name, "tools": listed(anything)}, ("server_label", "tools")),
    "mcp_call": (
        {
            "server_label": _name,
            "name": _name,
            "arguments": _long,
            "approval_request_id": nullable(_name),
            "output": nullable(_long),
            "error": anything,
        },
        ("server_label", "name", "arguments"),
    ),
}


def created(given: Any, *, id: str) -> Item:
    """The item that a client described; ``id`` is its own if it brings none. Raises Problem."""
    kind = mapping(given, "item").get("type")
    if kind is None:
        raise missing("item.type")
    if kind == "message":
        return _message(given, id)
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise invalid("item.type", kind, ", ".join(("message", *_FIELDS)))
    fields, required = _FIELDS[kind]
    body = {"status": "completed", **obj({**_COMMON, **fields}, required=required)(given, "item")}
    body["id"] = body.get("id") or id
    return Item(body, item_size(body))


def _message(given: dict[str, Any], id: str) -> Item:
    role = given.get("role")
    if role is None:
        raise missing("item.role")
    if not isinstance(role, str) or role not in _PARTS:
        raise invalid("item.role", role, ", ".join(_PARTS))
    known = {**_COMMON, "role": anything, "content": listed(_PARTS[role]), "phase": nullable(_name)}
    body = {"status": "completed", **obj(known, required=("content",))(given, "item")}
    body["id"] = body.get("id") or id
    audio = {at: part.pop("audio") for at, part in enumerate(body["content"]) if "audio" in part}
    for part in body["content"]:
        if part["type"] == "text":
            part["type"] = "output_text"
        if part["type"] == "input_audio":
            part.setdefault("transcript", None)
    unheard = {at: data for at, data in audio.items() if body["content"][at]["transcript"] is None}
    return Item(body, item_size(body), given=b"".join(audio.values())[:MAX_EVENT_BYTES], unheard=unheard)
