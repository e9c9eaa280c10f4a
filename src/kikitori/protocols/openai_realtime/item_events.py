"""What clients do to the items of a conversation, and what they are answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kikitori.protocols.actions import InputFormat
from kikitori.protocols.openai_realtime.checks import MAX_NAME, integer, nullable, text
from kikitori.protocols.openai_realtime.conversation import Conversation, Item, ReplyVoice, with_audio
from kikitori.protocols.openai_realtime.items import created
from kikitori.protocols.openai_realtime.problems import Problem, invalid, missing, shortened

Event = dict[str, Any]
MAX_NUMBER = 2**31 - 1


def described(
    conversation: Conversation, event: Mapping[str, Any], new_id: Callable[[str], str]
) -> tuple[Item, str | None]:
    """The item of a ``conversation.item.create``, and behind which one it shall stand. Raises Problem."""
    if "item" not in event:
        raise missing("item")
    previous = conversation.place(nullable(text(MAX_NAME))(event.get("previous_item_id"), "previous_item_id"))
    item = created(event["item"], id=new_id("item"))
    if item.body["id"] in conversation:
        raise Problem("invalid_value", f"There is an item {item.body['id']!r} already.", "item.id")
    return item, previous


def added(conversation: Conversation, item: Item, previous: str | None) -> list[Event]:
    """Put an item into the conversation, and say so."""
    conversation.add(item, previous)
    facts = {"previous_item_id": previous, "item": item.body}
    return [{"type": f"conversation.item.{step}", **facts} for step in ("added", "done")]


def retrieve(conversation: Conversation, event: Mapping[str, Any], format: InputFormat) -> list[Event]:
    item = _asked(conversation, event, "retrieve")
    return [{"type": "conversation.item.retrieved", "item": with_audio(item, format)}]


def delete(conversation: Conversation, event: Mapping[str, Any]) -> list[Event]:
    id = _asked(conversation, event, "delete").body["id"]
    conversation.remove(id)
    return [{"type": "conversation.item.deleted", "item_id": id}]


def truncate(conversation: Conversation, event: Mapping[str, Any]) -> list[Event]:
    """The user heard a spoken reply only so far: what comes after was never said."""
    for name in ("content_index", "audio_end_ms"):
        if name not in event:
            raise missing(name)
        integer(0, MAX_NUMBER)(event[name], name)
    item = _asked(conversation, event, "truncate")
    end, id = event["audio_end_ms"], item.body["id"]
    if item.voice is None:
        raise Problem(
            "unsupported_content_type",
            f"Only spoken replies that are complete can be truncated; {shortened(id)} is none.",
            "item_id",
        )
    if event["content_index"] != 0:
        raise invalid("content_index", event["content_index"], "0")
    if end > item.voice.milliseconds:
        raise invalid("audio_end_ms", end, f"up to the {item.voice.milliseconds} ms that the item has")
    conversation.change(id, *_cut(item, end))
    return [{"type": "conversation.item.truncated", "item_id": id, "content_index": 0, "audio_end_ms": end}]


def _cut(item: Item, end: int) -> tuple[dict[str, Any], bytes, ReplyVoice]:
    """Body, audio and voice of a reply that was heard for ``end`` milliseconds."""
    assert item.voice is not None
    [part] = item.body["content"]
    text, said = part["transcript"], item.voice.said_until(end)
    if 0 < said < len(text) and text[said - 1 : said + 1].isalnum() and " " in text[:said]:
        said = text.rindex(" ", 0, said)  # half a word was not said
    whole = max(1, item.voice.milliseconds)
    audio = item.given[: len(item.given) * end // whole // 2 * 2]
    marks = (*(mark for mark in item.voice.marks if mark[0] < end), (end, said))
    body = {**item.body, "content": [{**part, "transcript": text[:said].rstrip()}]}
    return body, audio, ReplyVoice(milliseconds=end, marks=marks)


def _asked(conversation: Conversation, event: Mapping[str, Any], verb: str) -> Item:
    if "item_id" not in event:
        raise missing("item_id")
    id = text(MAX_NAME)(event["item_id"], "item_id")
    item = conversation.get(id)
    if item is None:
        raise Problem(f"item_{verb}_invalid_item_id", f"There is no item {shortened(id)!r}.", "item_id")
    return item
