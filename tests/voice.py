"""A server that answers, for tests: a language model that says what a test wants, and what comes of its voice."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import psutil
from tests.chat_server import FakeChatServer
from tests.live_servers import loop_in_a_thread
from tests.servers import Server

from kikitori.audio.pcm import Encoding, Resampler, to_float, to_wav_bytes
from kikitori.testing import Hold
from kikitori.types import Audio

WAIT_SECONDS = 60.0


class ChatServer(FakeChatServer):
    """In a loop of its own, so that several tests may use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def release(self, hold: Hold) -> None:
        self._loop.call_soon_threadsafe(hold.release.set)

    async def left(self, number: int = -1) -> None:
        """Wait until whoever made a request has closed the connection."""
        gone = asyncio.run_coroutine_threadsafe(self.requests[number].gone.wait(), self._loop)
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wrap_future(gone)


@contextmanager
def chat_in_a_thread() -> Iterator[ChatServer]:
    with loop_in_a_thread() as loop:
        chat = ChatServer(loop)
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(chat.serve, "127.0.0.1", 0), loop)
        server = starting.result(WAIT_SECONDS)
        chat.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield chat
        loop.call_soon_threadsafe(server.close)


def sound_of(events: Iterable[Any]) -> bytes:
    """The audio of a reply, whichever names its events have."""
    kinds = ("response.output_audio.delta", "response.audio.delta")
    return b"".join(base64.b64decode(event.delta) for event in events if event.type in kinds)


def text_of(events: Iterable[Any]) -> str:
    kinds = ("response.output_audio_transcript.delta", "response.output_text.delta", "response.audio_transcript.delta")
    return "".join(event.delta for event in events if event.type in kinds)


def audio_of(data: bytes, encoding: Encoding = Encoding.S16LE, rate: int = 24_000) -> Audio:
    """At 16 kHz."""
    resampler = Resampler(rate)
    return np.concatenate([resampler.push(to_float(data, encoding)), resampler.flush()])


async def understood(server: Server, audio: Audio) -> str:
    """What the embedded recogniser of the server hears."""
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECONDS) as client:
        files, data = {"file": to_wav_bytes(audio)}, {"model": "pocketsphinx"}
        answer = await client.post("/v1/audio/transcriptions", files=files, data=data)
    return str(answer.json()["text"]).lower()


def voices_at_work(server: Server) -> int:
    """Processes that speak, or wait for a text."""
    found = 0
    for process in psutil.Process(server.process.pid).children():
        try:
            found += "espeak_worker" in " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
    return found


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a process elsewhere tells nobody
            await asyncio.sleep(0.05)
