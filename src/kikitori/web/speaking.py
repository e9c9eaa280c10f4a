"""Speech on its way to a client: encoded while it is spoken, as a file or as server-sent events."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import TypeAlias

import anyio.to_thread
from starlette.types import Receive, Scope, Send

from kikitori.audio.encode import SpeechEncoder, SpeechFormat
from kikitori.audio.pcm import Encoding, to_float
from kikitori.errors import KikitoriError
from kikitori.tts.speaker import Sound
from kikitori.web.disconnect import while_connected
from kikitori.web.streaming import AUDIO_TOKENS_PER_SECOND, EventStream, data_frame

logger = logging.getLogger(__name__)

Part: TypeAlias = tuple[bytes, float]
"""Bytes of a file, and how many seconds of speech went into them."""

CHARACTERS_PER_TOKEN = 4
"""About what OpenAI's tokenisers make of English; its clients expect a number."""


async def encoded(sounds: AsyncGenerator[Sound, None], format: SpeechFormat) -> AsyncGenerator[Part, None]:
    """The file, part by part. Without any sound it is an empty one."""
    encoder: SpeechEncoder | None = None
    async with aclosing(sounds):
        async for sound in sounds:
            encoder = encoder or SpeechEncoder(format, sound.rate)
            audio = to_float(sound.pcm, Encoding.S16LE)
            yield await anyio.to_thread.run_sync(encoder.push, audio), sound.seconds
    encoder = encoder or SpeechEncoder(format, 24_000)
    yield await anyio.to_thread.run_sync(encoder.finish), 0.0


async def sse_frames(parts: AsyncGenerator[Part, None], text: str) -> AsyncGenerator[bytes, None]:
    """``speech.audio.delta`` for each part, then ``speech.audio.done``."""
    spoken = 0.0
    async with aclosing(parts):
        async for data, seconds in parts:
            spoken += seconds
            if data:
                yield data_frame({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
    read = max(1, len(text) // CHARACTERS_PER_TOKEN)
    made = round(spoken * AUDIO_TOKENS_PER_SECOND)
    usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
    yield data_frame({"type": "speech.audio.done", "usage": usage})


async def file_frames(parts: AsyncGenerator[Part, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(parts):
        async for data, _ in parts:
            if data:
                yield data


async def begun(frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """``frames``, of which the first is there: what goes wrong before it is raised here, not in the answer."""
    first = await anext(frames, b"")

    async def whole() -> AsyncGenerator[bytes, None]:
        async with aclosing(frames):
            yield first
            async for frame in frames:
                yield frame

    return whole()


class SoundStream(EventStream):
    """A file that is sent while it is made. When it breaks off, so does the connection: half a file is no file."""

    def __init__(
        self, frames: AsyncGenerator[bytes, None], *, media_type: str, headers: Mapping[str, str], held: AsyncExitStack
    ) -> None:
        self.media_type = media_type
        super().__init__(frames, headers=headers, held=held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, while_connected(receive):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async with aclosing(self._frames) as frames:
                    async for frame in frames:
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
            except KikitoriError as exc:
                facts = {"action": "stream_failed", "code": exc.code, "reason": str(exc)}
                logger.warning("stream broke off", extra=facts)
                return  # uvicorn cuts the connection of an answer that was not finished
            await send({"type": "http.response.body", "body": b"", "more_body": False})
