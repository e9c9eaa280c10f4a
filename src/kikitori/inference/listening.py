"""Utterances that a streaming engine hears piece by piece, each on threads of the model's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from kikitori.engines.base import EngineStream, Hypothesis
from kikitori.types import Audio, Segment

T = TypeVar("T")


class Listening:
    """One utterance. Calls are made one after the other, whoever makes them; ``close`` comes last."""

    def __init__(self, begin: Callable[[], EngineStream], threads: ThreadPoolExecutor) -> None:
        self._begin, self._threads = begin, threads
        self._stream: EngineStream | None = None
        self._busy = asyncio.Lock()
        self._closed = False

    async def accept(self, audio: Audio) -> Hypothesis:
        """What was heard since the utterance began, now that ``audio`` follows."""
        return await self._call(lambda stream: stream.accept(audio))

    async def finish(self, audio: Audio) -> tuple[Segment, ...]:
        """The whole utterance, of which ``audio`` is the rest."""

        def end(stream: EngineStream) -> tuple[Segment, ...]:
            if len(audio):
                stream.accept(audio)
            return tuple(stream.finish().segments)

        return await self._call(end)

    async def close(self) -> None:
        """Let go of everything, when the call that runs has ended."""
        self._closed = True
        if self._stream is not None:
            self._stream.interrupt()
        async with self._busy:
            stream, self._stream = self._stream, None
            if stream is not None:
                await self._in_thread(stream.close)

    async def _call(self, work: Callable[[EngineStream], T]) -> T:
        async with self._busy:
            return await self._in_thread(lambda: work(self._begun()))

    def _begun(self) -> EngineStream:
        if self._closed:
            raise RuntimeError("The utterance is closed.")
        self._stream = self._stream or self._begin()
        return self._stream

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work``; when the caller is cancelled, wait for its end all the same: the stream is not safe for two."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if self._stream is not None:
                self._stream.interrupt()
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()
            raise
