"""Transcription events as OpenAI's stream of server-sent events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kikitori.errors import KikitoriError
from kikitori.logs import current_ids
from kikitori.pipeline.events import Finished, Progress, SegmentDone, Started, TranscriptionEvent
from kikitori.text.transcripts import segment_dict
from kikitori.types import Segment, Transcript
from kikitori.web.answers import diarized_segment, json_bytes
from kikitori.web.asked import AnswerFormat, Asked
from kikitori.web.disconnect import while_connected
from kikitori.web.errors import body_of, internal_body, stopping_body

logger = logging.getLogger(__name__)

DONE_FRAME = b"data: [DONE]\n\n"
WAITING_FRAME = b": waiting\n\n"
AUDIO_TOKENS_PER_SECOND = 50
"""Positions of Whisper's encoder; OpenAI's clients expect a number of tokens, and time is ours."""
_LINE_ENDS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Some clients take these for the end of a line; JSON may escape them."""


class DeltaText:
    """Cuts a growing text into deltas whose join is the whole text, without space at either end."""

    def __init__(self) -> None:
        self._begun = False
        self._held_back = ""

    def add(self, text: str) -> str:
        """The delta for ``text``; space at its end waits for what follows."""
        text = self._held_back + text if self._begun else text.lstrip()
        delta = text.rstrip()
        self._held_back = text[len(delta) :]
        self._begun = self._begun or bool(delta)
        return delta


class StreamWriter:
    """Turns events into frames. Pure."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._text = DeltaText()

    def frames(self, event: TranscriptionEvent) -> Iterator[bytes]:
        match event:
            case SegmentDone(segment=segment):
                yield from self._segment(segment)
            case Progress():
                # A comment, which clients skip: it keeps proxies from taking a long silence for the end.
                yield f": {event.seconds_done:.1f} s done\n\n".encode()
            case Finished(transcript=transcript):
                yield data_frame(_done(transcript))
                yield DONE_FRAME
            case Started():
                pass

    def _segment(self, segment: Segment) -> Iterator[bytes]:
        diarized = self._asked.format is AnswerFormat.DIARIZED_JSON
        delta: dict[str, Any] = {"type": "transcript.text.delta", "delta": self._text.add(segment.text)}
        if diarized:
            delta["segment_id"] = f"seg_{segment.id}"
        if delta["delta"]:
            yield data_frame({**delta, "segment": segment_dict(segment)})
        if diarized:
            yield data_frame(diarized_segment(segment, self._asked.speaker_names))


def _done(transcript: Transcript) -> dict[str, Any]:
    heard = round(transcript.duration * AUDIO_TOKENS_PER_SECOND)
    written = sum(len(segment.tokens) for segment in transcript.segments)
    return {
        "type": "transcript.text.done",
        "text": transcript.text,
        "usage": {
            "type": "tokens",
            "input_tokens": heard,
            "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
            "output_tokens": written,
            "total_tokens": heard + written,
        },
        "task": transcript.task.value,
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration": round(transcript.duration, 3),
        "model": transcript.model,
        "engine": transcript.engine,
        "mode": transcript.mode.value,
    }


def data_frame(value: object) -> bytes:
    text = json_bytes(value).decode()
    for char, escape in _LINE_ENDS.items():
        text = text.replace(char, escape)
    return f"data: {text}\n\n".encode()


def event_frames(
    events: AsyncIterable[TranscriptionEvent], asked: Asked, *, stopping: Callable[[], bool] = lambda: False
) -> AsyncGenerator[bytes, None]:
    """Frames until the events end, in whatever way."""
    return told_to_the_end(_written(events, StreamWriter(asked)), stopping=stopping)


async def _written(events: AsyncIterable[TranscriptionEvent], writer: StreamWriter) -> AsyncGenerator[bytes, None]:
    async for event in events:
        for frame in writer.frames(event):
            yield frame


async def told_to_the_end(
    frames: AsyncGenerator[bytes, None], *, stopping: Callable[[], bool] = lambda: False
) -> AsyncGenerator[bytes, None]:
    """``frames``; an error becomes the last one, with a key ``error``.

    So does being cancelled while the server is ``stopping``.
    """
    try:
        async with aclosing(frames):
            async for frame in frames:
                yield frame
    except asyncio.CancelledError:
        if not stopping():
            raise
        logger.warning("stream cancelled by shutdown", extra={"action": "request_cancelled"})
        yield data_frame(stopping_body())
    except KikitoriError as exc:
        logger.warning("stream broke off", extra={"action": "stream_failed", "code": exc.code, "reason": str(exc)})
        yield data_frame(body_of(exc))
    except Exception:  # too late for a status: the client is told in the stream, the log gets the trace
        logger.exception("stream failed", extra={"action": "stream_failed"})
        yield data_frame(internal_body(current_ids().get("request_id", "")))


async def kept_open(frames: AsyncGenerator[bytes, None], *, quiet_seconds: float) -> AsyncGenerator[bytes, None]:
    """``frames``, and a comment, which clients skip, whenever none came for so long."""
    coming: asyncio.Task[bytes] | None = None
    try:
        while True:
            coming = coming or asyncio.create_task(_next(frames))
            if not (await asyncio.wait([coming], timeout=quiet_seconds))[0]:
                yield WAITING_FRAME
                continue
            done, coming = coming, None
            if frame := done.result():
                yield frame
            else:
                return
    finally:
        if coming:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await frames.aclose()


async def _next(frames: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(frames, b"")


class EventStream(Response):
    """Sends frames while the client listens, then lets go of ``held``: the decoding, the file, the place."""

    media_type = "text/event-stream"

    def __init__(
        self, frames: AsyncGenerator[bytes, None], *, headers: Mapping[str, str], held: AsyncExitStack
    ) -> None:
        super().__init__(None, headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames, self._held = frames, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, while_connected(receive):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._frames) as frames:
                async for frame in frames:
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
