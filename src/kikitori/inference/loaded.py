"""A loaded model as the rest of the program sees it: async, shared by all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import TypeVar, cast

from kikitori.engines.base import REMOTE_AT_ONCE, Engine, EngineInfo, Language, StreamingEngine
from kikitori.errors import DecodingCancelled
from kikitori.inference.listening import Listening
from kikitori.inference.models import ModelSpec
from kikitori.inference.replica import Replica, ReplicaCalls
from kikitori.inference.scheduler import PATIENCE
from kikitori.inference.slots import Slots
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, Priority, Segment

T = TypeVar("T")

LIVE_DECODINGS = 64
LISTENING_THREADS = 8
"""Utterances that a streaming engine works on at a time; more wait their turn."""
REMOTE_LISTENING_THREADS = 64
"""The same for a remote one, where they wait most of the time: one that hangs must not hold up the others."""
WINDOW_SECONDS = 30.5
"""What is longer is decoded in several windows, one after the other."""


class Lane(StrEnum):
    """Decodings that wait for places among themselves: nobody waits for something slower to end."""

    LIVE = "live"  # somebody speaks
    URGENT = "urgent"  # of high priority
    WINDOWS = "windows"  # one window each
    STRETCHES = "stretches"  # chunks of a file in sequential mode, which hold their place for minutes


class LoadedModel:
    """Replicas of one model and the threads that decode on them."""

    def __init__(
        self, spec: ModelSpec, replicas: Sequence[Replica], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.spec = spec
        self.replicas = tuple(replicas)
        self._clock = clock
        merges = self.info.max_batch_size > 1
        # While each worker runs a batch, the callers of the next one prepare their windows.
        batches = sum(replica.workers + 1 for replica in self.replicas)
        alone = REMOTE_AT_ONCE if self.info.remote else len(self.replicas)
        self.decodings_at_once = self.info.max_batch_size * batches if merges else alone
        """How many windows of one file are worth offering at the same time."""
        places = dict.fromkeys(Lane, self.decodings_at_once) | {Lane.LIVE: LIVE_DECODINGS}
        if merges or self.info.remote:
            self._slots = {lane: Slots(count) for lane, count in places.items()}
        else:  # such an engine decodes one thing at a time, whatever it is
            self._slots = dict.fromkeys(Lane, Slots(self.decodings_at_once))
        threads = sum(places.values()) if merges or self.info.remote else self.decodings_at_once
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="kikitori-decode")
        self._listeners = REMOTE_LISTENING_THREADS if self.info.remote else LISTENING_THREADS
        self._ears = ThreadPoolExecutor(self._listeners, thread_name_prefix="kikitori-listen")
        self._running: set[ReplicaCalls] = set()
        self._closed = False

    @property
    def interims_at_once(self) -> int:
        """Passes of live sessions that are worth offering at a time: more would be out of date when they run.

        A GPU takes a batch in about the time of one; on a CPU each worker has one to do, and one ready.
        """
        if not self.info.max_batch_size > 1:
            return self._listeners if self.info.streaming else 1
        batch = self.info.max_batch_size
        return sum(replica.workers * (2 if replica.device == "cpu" else batch) for replica in self.replicas)

    @property
    def info(self) -> EngineInfo:
        return self.replicas[0].engine.info

    def decode(
        self, audio: Audio, options: DecodeOptions, *, priority: Priority = Priority.NORMAL, patience: float = 0.0
    ) -> AsyncGenerator[Language | Segment, None]:
        """Decode one stretch of ``audio``: its Language once, then each Segment as it is made.

        ``patience`` (seconds) lets later arrivals go first: the tenth window of a long file need
        not hold up the only window of a short one. Closing the generator stops the engine within
        one of its calls; the place is free when it returns.
        """

        def work(engine: Engine, calls: ReplicaCalls) -> Iterator[Language | Segment]:
            decoding = engine.transcribe(audio, options, calls)
            yield decoding.language
            for segment in decoding.segments:
                calls.check()
                yield segment

        return self._run(work, priority, patience, seconds=len(audio) / SAMPLE_RATE)

    async def detect_language(
        self, audio: Audio, options: DecodeOptions, *, priority: Priority = Priority.NORMAL
    ) -> Language:
        """The language spoken in ``audio``."""

        def work(engine: Engine, calls: ReplicaCalls) -> Iterator[Language]:
            yield engine.detect_language(audio, options, calls)

        async with aclosing(self._run(work, priority)) as results:
            return await anext(results)

    def listen(self, options: DecodeOptions) -> Listening:
        """One utterance, heard while it is spoken. Only for engines with ``info.streaming``; close it."""
        replica = min(self.replicas, key=lambda replica: (replica.failing, replica.jobs))
        return Listening(partial(cast(StreamingEngine, replica.engine).stream, options), self._ears)

    async def close(self) -> None:
        """Free the engines; decodings that still run are cancelled, and have left before."""
        self._closed = True
        for calls in self._running:
            calls.cancel()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._ears.shutdown)
        for replica in self.replicas:
            await asyncio.to_thread(replica.close)

    async def _run(
        self,
        work: Callable[[Engine, ReplicaCalls], Iterator[T]],
        priority: Priority,
        patience: float = 0.0,
        *,
        seconds: float = 0.0,
    ) -> AsyncGenerator[T, None]:
        """Run ``work`` on the least busy replica, in a thread, passing on what it yields."""
        slots = self._slots[_lane(priority, seconds)]
        await slots.acquire(self._clock() + PATIENCE[priority] + patience)
        replica = min(self.replicas, key=lambda replica: (replica.failing, replica.jobs))
        place = _Place(slots, replica)
        calls = replica.calls(priority)
        try:
            # The place is the thread's: whoever reads the results slowly must not keep it from others.
            async with aclosing(self._in_thread(work, replica.engine, calls, place.let_go)) as results:
                async for result in results:
                    yield result
        finally:
            place.let_go()

    async def _in_thread(
        self,
        work: Callable[[Engine, ReplicaCalls], Iterator[T]],
        engine: Engine,
        calls: ReplicaCalls,
        on_end: Callable[[], None],
    ) -> AsyncGenerator[T, None]:
        loop = asyncio.get_running_loop()
        results: asyncio.Queue[T | None] = asyncio.Queue()

        def run() -> None:
            try:
                for result in work(engine, calls):
                    loop.call_soon_threadsafe(results.put_nowait, result)
            finally:
                loop.call_soon_threadsafe(results.put_nowait, None)

        if self._closed:
            raise DecodingCancelled
        thread = loop.run_in_executor(self._threads, run)
        thread.add_done_callback(lambda _: on_end())
        self._running.add(calls)
        try:
            while (result := await results.get()) is not None:
                yield result
            await thread
        finally:
            calls.cancel()
            await _ended(thread)
            self._running.discard(calls)


def _lane(priority: Priority, seconds: float) -> Lane:
    if priority.is_live:
        return Lane.LIVE
    if priority is Priority.HIGH:
        return Lane.URGENT
    return Lane.WINDOWS if seconds <= WINDOW_SECONDS else Lane.STRETCHES


class _Place:
    """A slot and a job of a replica, given back once."""

    def __init__(self, slots: Slots, replica: Replica) -> None:
        self._slots, self._replica, self._held = slots, replica, True
        replica.jobs += 1

    def let_go(self) -> None:
        if self._held:
            self._held = False
            self._replica.jobs -= 1
            self._slots.release()


async def _ended(thread: asyncio.Future[None]) -> None:
    """Wait for a decoding to leave the engine, even when the waiting task is cancelled again."""
    cancelled = False
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError:
            cancelled = True
    thread.exception()  # raised where the results are read, or nobody wants it any more
    if cancelled:
        raise asyncio.CancelledError
