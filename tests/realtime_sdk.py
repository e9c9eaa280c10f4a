"""OpenAI's Python SDK on a Realtime socket, for tests: it talks, and keeps and checks all that it is told."""

from __future__ import annotations

import asyncio
import base64
import wave
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import ConversationCreatedEvent

from kikitori.audio.pcm import Encoding, Resampler, from_float, to_float

RATE = 24_000
SECONDS = 60.0
"""To wait for an event, on a busy machine."""
TRANSCRIPTION = "conversation.item.input_audio_transcription."
BUFFER = "input_audio_buffer."
WHISPER: Mapping[str, Any] = {"model": "whisper-1", "language": "en"}


def silence(seconds: float, rate: int = RATE) -> bytes:
    return bytes(2 * round(seconds * rate))


def speech(path: Path, rate: int = RATE, encoding: Encoding = Encoding.S16LE) -> bytes:
    """A recording of 16 kHz as a client sends it."""
    with wave.open(str(path)) as file:
        audio = to_float(file.readframes(file.getnframes()), Encoding.S16LE)
        resampler = Resampler(file.getframerate(), rate)
    return from_float(np.concatenate([resampler.push(audio), resampler.flush()]), encoding)


class Talk:
    """A connection and every event it brought, in the types of the SDK."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def next(self) -> Any:
        async with asyncio.timeout(SECONDS):
            event: Any = await self.connection.recv()
        assert event.event_id
        assert event.event_id not in {known.event_id for known in self.events}
        # The SDK's answer to what it does not know.
        assert not isinstance(event, ConversationCreatedEvent), event.to_dict()
        self.events.append(event)
        return event

    async def until(self, type: str, *, times: int = 1) -> list[Any]:
        """Events up to the one of this type, or up to that many of them."""
        events: list[Any] = []
        while sum(event.type == type for event in events) < times:
            events.append(await self.next())
        return events

    async def error(self) -> Any:
        """The next event, which is an error."""
        event = await self.next()
        assert event.type == "error", event.to_dict()
        return event.error

    async def fence(self) -> list[Any]:
        """Everything that came before the answer to something that is sent now."""
        mark = f"fence_{len(self.events)}"
        await self.send(type="fence", event_id=mark)
        events: list[Any] = []
        while True:
            event = await self.next()
            if event.type == "error" and event.error.event_id == mark:
                return events
            events.append(event)

    async def send(self, **event: Any) -> None:
        await self.connection.send(event)  # type: ignore[arg-type]

    async def update(self, session: Mapping[str, Any] | None = None, **listening: Any) -> Any:
        """Change ``audio.input``, or other parts of the session; the new session."""
        await self.ask(session, **listening)
        event = await self.next()
        assert event.type == "session.updated", event.to_dict()
        return event.session

    async def ask(self, session: Mapping[str, Any] | None = None, **listening: Any) -> None:
        change: Any = {"type": "transcription", **(session or {})}
        if listening:
            change["audio"] = {"input": listening}
        await self.connection.session.update(session=change)

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(part).decode())

    async def commit(self) -> None:
        await self.connection.input_audio_buffer.commit()

    async def transcript(self) -> str:
        """What comes of the turn that ends next."""
        return str((await self.until(f"{TRANSCRIPTION}completed"))[-1].transcript)


def types(events: Sequence[Any]) -> list[str]:
    return [event.type for event in events]


def sdk(url: str, key: str = "any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=key, base_url=f"{url}/v1", websocket_base_url=f"{url.replace('http', 'ws')}/v1", max_retries=0
    )


@asynccontextmanager
async def talking(url: str, key: str = "any", **query: Any) -> AsyncGenerator[Talk, None]:
    """A connection; for transcription unless ``model`` or ``extra_query`` says otherwise."""
    if not query:
        query = {"extra_query": {"intent": "transcription"}}
    async with sdk(url, key) as client, client.realtime.connect(**query) as connection:
        yield Talk(connection)


@asynccontextmanager
async def listening(url: str, **asked: Any) -> AsyncGenerator[Talk, None]:
    """A transcription session in English; ``asked`` is more of ``audio.input``, by default manual turns."""
    async with talking(url) as talk:
        await talk.next()
        await talk.update(**{"transcription": WHISPER, "turn_detection": None, **asked})
        yield talk
