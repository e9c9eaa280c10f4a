"""Decoding on a running server: ``--url``."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

import httpx

from kikitori.audio.decode import probe
from kikitori.cli.api import (
    ATTEMPTS,
    LONGEST_WAIT_SECONDS,
    error_from,
    not_a_server,
    open_client,
    reachable,
    refusal,
)
from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.uploads import opened
from kikitori.errors import Busy, InvalidInput, InvalidMedia, Unavailable
from kikitori.pipeline.events import Finished, Progress, SegmentDone, TranscriptionEvent
from kikitori.text.transcripts import transcript_from_dict

TIMEOUT = httpx.Timeout(3_600, connect=10, write=120)
"""An answer begins when the server gets round to it, and the server says something all the while."""
PROGRESS = re.compile(r"^:\s*([0-9.]+) s done")


class RemoteBackend:
    """Sends each recording to ``POST /v1/audio/transcriptions`` and reads the stream of its answer."""

    def __init__(self, client: httpx.AsyncClient, fields: Mapping[str, str], stdin: StoppableInput) -> None:
        self._client, self._fields, self._stdin = client, {**fields, "stream": "true"}, stdin

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, api_key: str, fields: Mapping[str, str], stdin: StoppableInput
    ) -> AsyncIterator[Self]:
        async with open_client(url, api_key, timeout=TIMEOUT) as client:
            yield cls(client, fields, stdin)

    async def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        async with opened(recording, self._stdin) as file:
            duration = await asyncio.to_thread(_promised, file)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    async for event in self._attempt(recording, file, duration):
                        yield event
                    return
                except Busy as exc:  # nothing of the answer has come: the request can be sent again
                    if attempt == ATTEMPTS:
                        raise
                    await asyncio.sleep(min(exc.retry_after, LONGEST_WAIT_SECONDS))

    async def _attempt(
        self, recording: Recording, file: BinaryIO, duration: float | None
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        file.seek(0)
        name = recording.path.name if recording.path else "stdin"
        request = self._client.build_request(
            "POST", "v1/audio/transcriptions", data=self._fields, files={"file": (name, file)}
        )
        with reachable(self._client.base_url):
            response = await self._client.send(request, stream=True)
            try:
                await _check(response)
                reader = _StreamReader(duration=duration, task=self._fields.get("task", "transcribe"))
                async for line in response.aiter_lines():
                    for event in reader.events(line):
                        yield event
            finally:
                await response.aclose()
        if not reader.finished:
            raise Unavailable("The server's answer broke off.", remedy="Check the server's log.")


@dataclass(slots=True)
class _StreamReader:
    """Lines of the server's stream → events. Pure."""

    duration: float | None
    task: str
    finished: bool = False
    segments: list[dict[str, Any]] = field(default_factory=list)

    def events(self, line: str) -> Iterator[TranscriptionEvent]:
        if progress := PROGRESS.match(line):
            yield self._progress(float(progress[1]))
        elif line.startswith("data:") and (text := line[5:].strip()) != "[DONE]":
            try:
                yield from self._message(json.loads(text))
            except (ValueError, AttributeError, InvalidInput) as exc:
                raise Unavailable(
                    "The server's answer broke off, or is not understood.", remedy="Check --url, and the server's log."
                ) from exc

    def _progress(self, seconds_done: float) -> Progress:
        if self.duration is not None:
            self.duration = max(self.duration, seconds_done)
        return Progress(seconds_done=seconds_done, duration=self.duration)

    def _message(self, message: Mapping[str, Any]) -> Iterator[TranscriptionEvent]:
        if error := message.get("error"):
            raise error_from(500, error)
        if message.get("type") == "transcript.text.delta" and "segment" in message:
            self.segments.append(message["segment"])
            yield SegmentDone(
                segment=transcript_from_dict({"segments": [message["segment"]], "language": ""}).segments[0]
            )
        elif message.get("type") == "transcript.text.done":
            self.finished = True
            yield Finished(transcript=transcript_from_dict({"task": self.task, **message, "segments": self.segments}))


def _promised(file: BinaryIO) -> float | None:
    """For the progress bar alone: what is no media is for the server to say."""
    file.seek(0)
    try:
        duration: float | None = probe(file).duration
        return duration
    except InvalidMedia:
        return None


async def _check(response: httpx.Response) -> None:
    """Raise what the server says is wrong."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    if not response.is_success:
        raise await refusal(response)
    if kind != "text/event-stream":
        raise not_a_server(response)
