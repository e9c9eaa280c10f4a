"""Translations of a live session, for those who read along elsewhere: server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from kikitori.errors import InvalidOption
from kikitori.live.events import Translation, TranslationFailed
from kikitori.sessions.translations import Feed
from kikitori.web import openapi
from kikitori.web.auth import MayWatch
from kikitori.web.state import State
from kikitori.web.streaming import EventStream, data_frame, kept_open, told_to_the_end

router = APIRouter(tags=["live"])

QUIET_SECONDS = 15.0
"""After so long without an event, connections are kept open by a comment."""
_EXAMPLE = 'id: 7\nevent: translation\ndata: {"utterance":2,"text":"Hello.","lang":"en","done":true}\n\n'

SessionId = Annotated[str, Path(description="As the session said: `session` of its message `translating`.")]
LastId = Annotated[str | None, Header(alias="Last-Event-ID", description="The id of the last event that came.")]
LastIdQuery = Annotated[str | None, Query(description="The same, for clients that cannot set a header.")]


@router.get(
    "/stt/sessions/{id}/translations",
    summary="Read the translations of a live session along",
    response_class=Response,
    responses={
        200: {
            "description": "Events until the session is over.",
            "content": {"text/event-stream": {"example": _EXAMPLE}},
        },
        **openapi.error_responses(400, 401, 403, 404, 429),
    },
)
async def watch_translations(
    id: SessionId, state: State, caller: MayWatch, header: LastId = None, last_event_id: LastIdQuery = None
) -> Response:
    """Server-sent events: `translation`, with all of an utterance's translation so far, `notice`, and at last `ended`.

    Who comes later is told what was translated before.
    """
    after = _position(header or last_event_id)
    feed = state.services.live.translations(id, caller.sees)
    async with AsyncExitStack() as held:
        held.enter_context(state.streams.place(caller.id))
        told = told_to_the_end(_frames(feed, after), stopping=lambda: state.services.draining)
        frames = kept_open(told, quiet_seconds=QUIET_SECONDS)
        return EventStream(frames, headers={}, held=held.pop_all())


def _position(text: str | None) -> int:
    """Raises InvalidOption."""
    if text is None or not text.strip():
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidOption("last_event_id", text, "the id of the last event that came")
    return int(text)


async def _frames(feed: Feed, after: int) -> AsyncGenerator[bytes, None]:
    async for number, event in feed.follow(after):
        yield _frame("translation", _translation(event), id=number)
        if isinstance(event, TranslationFailed) and not event.repeated:
            notice = {"message": event.message, "code": event.code, "utterance": event.utterance}
            yield _frame("notice", notice, id=number)
    yield _frame("ended", {})


def _translation(event: Translation | TranslationFailed) -> dict[str, Any]:
    told = {"utterance": event.utterance, "text": event.text, "lang": event.language}
    if isinstance(event, TranslationFailed):
        return {**told, "done": True, "failed": True}
    return {**told, "done": event.done}


def _frame(kind: str, data: dict[str, Any], *, id: int | None = None) -> bytes:
    number = f"id: {id}\n" if id is not None else ""
    return f"{number}event: {kind}\n".encode() + data_frame(data)
