"""Decoding on a running server: ``--url``."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self, cast

import httpx

from kikitori.audio.decode import probe
from kikitori.cli.inputs import Recording
from kikitori.cli.interrupts import StoppableInput
from kikitori.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    InvalidMedia,
    InvalidOption,
    KikitoriError,
    ModelNotFound,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from kikitori.pipeline.events import Finished, Progress, SegmentDone, TranscriptionEvent
from kikitori.text.transcripts import transcript_from_dict

TIMEOUT = httpx.Timeout(3_600, connect=10, write=120)
"""An answer begins when the server gets round to it, and the server says something all the while."""
ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 60.0
PROGRESS = re.compile(r"^:\s*([0-9.]+) s done")


def server_address(url: str) -> httpx.URL:
    """``host:8000`` or ``https://host/v1`` → the address the API lies under. Raises InvalidOption."""
    text = url.strip()
    try:
        address = httpx.URL(text if "://" in text else f"http://{text}")
        address = address.copy_with(path=address.path.rstrip("/").removesuffix("/v1") + "/", query=None, fragment=None)
    except httpx.InvalidURL as exc:
        raise InvalidOption("url", url, f"the address of a server, such as http://127.0.0.1:8000 ({exc})") from exc
    if address.scheme not in ("http", "https") or not address.host:
        raise InvalidOption("url", url, "the address of a server, such as http://127.0.0.1:8000")
    return address


def form_fields(given: Mapping[str, Any], *, model: str) -> dict[str, str]:
    """The decode options that were typed, as the fields of a form."""
    fields = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    if "temperature" in fields:  # a list: OpenAI's lone 0 would mean the usual ones
        fields["temperature"] = f"[{fields['temperature']}]"
    return {**fields, "model": model} if model else fields


class RemoteBackend:
    """Sends each recording to ``POST /v1/audio/transcriptions`` and reads the stream of its answer."""

    def __init__(self, client: httpx.AsyncClient, fields: Mapping[str, str], stdin: StoppableInput) -> None:
        self._client, self._fields, self._stdin = client, {**fields, "stream": "true"}, stdin

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, api_key: str, fields: Mapping[str, str], stdin: StoppableInput
    ) -> AsyncIterator[Self]:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        async with httpx.AsyncClient(base_url=server_address(url), headers=headers, timeout=TIMEOUT) as client:
            yield cls(client, fields, stdin)

    async def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        async with self._opened(recording) as file:
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

    @asynccontextmanager
    async def _opened(self, recording: Recording) -> AsyncIterator[BinaryIO]:
        try:
            source = await asyncio.to_thread(recording.path.open, "rb") if recording.path else self._piped()
        except OSError as exc:
            raise InvalidMedia(f"It cannot be read: {exc.strerror}.", remedy="") from exc
        with source:
            if not recording.is_stream:
                yield source
                return
            with tempfile.TemporaryFile() as copy:  # the length is sent first, and a pipe has none
                await asyncio.to_thread(shutil.copyfileobj, source, copy)
                yield copy

    def _piped(self) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(self._stdin))

    async def _attempt(
        self, recording: Recording, file: BinaryIO, duration: float | None
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        file.seek(0)
        name = recording.path.name if recording.path else "stdin"
        request = self._client.build_request(
            "POST", "v1/audio/transcriptions", data=self._fields, files={"file": (name, file)}
        )
        with _reachable(self._client.base_url):
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


@contextmanager
def _reachable(address: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as exc:
        raise Unavailable(
            f"The server {address} does not answer ({str(exc) or type(exc).__name__}).",
            remedy="Check --url, and that the server runs.",
        ) from exc


async def _check(response: httpx.Response) -> None:
    """Raise what the server says is wrong."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.is_success and kind == "text/event-stream":
        return
    await response.aread()
    if response.is_success:
        raise Unavailable(f"{response.url.host} answers, but is not a Kikitori server.", remedy="Check --url.")
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": f"The server answered {response.status_code} {response.reason_phrase}."}
    raise error_from(response.status_code, error, response.headers.get("retry-after"))


def error_from(status: int, error: Mapping[str, Any], retry_after: str | None = None) -> KikitoriError:
    """The server's error, as one of ours."""
    message, code = str(error.get("message") or "The server failed."), error.get("code")
    param = error.get("param")
    made: KikitoriError
    if code == Busy.code or status == 429:
        made = Busy(message, retry_after=float(retry_after) if retry_after and retry_after.isdecimal() else 1.0)
        made.remedy = ""
        return made
    if status == 401:
        remedy = "Give the right one with --api-key or KIKITORI_API_KEY."
        return Unauthorized("The server wants an API key, and this one is missing, wrong or revoked.", remedy=remedy)
    if code == ModelNotFound.code:
        made = ModelNotFound("")
    elif code == Unsupported.code:
        made = Unsupported("", param=str(param))
    else:
        kinds: dict[int, type[KikitoriError]] = {
            400: InvalidInput, 403: Forbidden, 404: Unavailable, 409: Conflict, 413: TooLarge,
            415: InvalidInput, 422: InvalidInput, 502: Unavailable, 503: Unavailable, 504: Unavailable,
        }  # fmt: skip
        made = kinds.get(status, KikitoriError)("")
    made.message, made.remedy, made.param = message, "", param
    return made
