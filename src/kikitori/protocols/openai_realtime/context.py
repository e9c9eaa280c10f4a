"""A conversation as a language model reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kikitori.llm.talking import ChatMessage

BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 8
ANSWER_SHARE = 4
"""The answer may take a quarter of what the model holds."""
NO_RESULT = "(no result)"
UNHEARD = "(something that was not understood)"

Body = Mapping[str, Any]


def messages(items: Iterable[Body], instructions: str, *, context_tokens: int) -> tuple[ChatMessage, ...]:
    """Instructions, and as much of the conversation as fits, the newest first to stay."""
    system: list[ChatMessage] = [{"role": "system", "content": instructions}] if instructions else []
    room = context_tokens - context_tokens // ANSWER_SHARE - sum(map(tokens, system))
    kept: list[Sequence[ChatMessage]] = []
    for turn in reversed(_turns(list(items))):
        room -= sum(map(tokens, turn))
        if room < 0 and kept:
            break
        kept.append(turn)
    return (*system, *(message for turn in reversed(kept) for message in turn))


def chat_tools(tools: Iterable[Body]) -> tuple[Mapping[str, Any], ...]:
    """Functions in the shape of chat completions; other kinds of tools mean nothing here."""
    return tuple(
        {
            "type": "function",
            "function": {name: value for name, value in tool.items() if name != "type" and value is not None},
        }
        for tool in tools
        if tool["type"] == "function"
    )


def chat_tool_choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    return {"type": "function", "function": {"name": choice["name"]}} if choice["type"] == "function" else "auto"


def tokens(message: ChatMessage) -> int:
    """An estimate, rather too high than too low."""
    return len(json.dumps(message, ensure_ascii=False).encode()) // BYTES_PER_TOKEN + TOKENS_PER_MESSAGE


def _turns(items: Sequence[Body]) -> list[Sequence[ChatMessage]]:
    """Messages that belong together: a call stands with its result, wherever the client put it."""
    results = {item["call_id"]: item["output"] for item in items if item["type"] == "function_call_output"}
    turns: list[Sequence[ChatMessage]] = []
    calls: list[Body] = []
    for item in [*items, None]:
        if item is not None and item["type"] == "function_call":
            calls.append(item)
            continue
        if calls:
            turns.append(_called(calls, results))
            calls = []
        if item is not None and item["type"] == "message" and (message := _message(item)):
            turns.append([message])
    return turns


def _called(calls: Sequence[Body], results: Mapping[str, str]) -> list[ChatMessage]:
    """One message for calls that were made together, and one for each result: endpoints want one for every call."""
    made = [
        {"id": _id(call), "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in calls
    ]
    told = [{"role": "tool", "tool_call_id": _id(call), "content": results.get(_id(call), NO_RESULT)} for call in calls]
    return [{"role": "assistant", "content": None, "tool_calls": made}, *told]


def _id(call: Body) -> str:
    return str(call.get("call_id") or call["id"])


def _message(item: Body) -> ChatMessage | None:
    """None: it says nothing."""
    parts = [part for part in item["content"] if part]
    pictures = [part for part in parts if part["type"] == "input_image"]
    text = "\n".join(filter(None, map(_text, parts)))
    if not pictures:
        return {"role": item["role"], "content": text} if text else None
    content: list[Mapping[str, Any]] = [{"type": "text", "text": text}] if text else []
    content += [
        {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail", "auto")}}
        for part in pictures
    ]
    return {"role": item["role"], "content": content}


def _text(part: Body) -> str:
    if part["type"] in ("input_text", "output_text"):
        return str(part.get("text") or "")
    if part["type"] == "output_audio":
        return str(part.get("transcript") or "")
    if part["type"] == "input_audio":
        # Empty is silence, None was never understood.
        heard = part.get("transcript")
        return UNHEARD if heard is None else str(heard)
    return ""
