"""Blocking work of the pipeline, kept off the event loop and bounded."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio.to_thread
from anyio.lowlevel import RunVar

from kikitori.errors import DecodingCancelled

T = TypeVar("T")

MEDIA_THREADS = max(2, os.cpu_count() or 2)
"""Files decoded, cut or scored for speech at the same moment: more would only take turns, and the loop's with them."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("kikitori-media-threads")


async def in_media_thread(work: Callable[[], T], *, must_run: bool = False) -> T:
    """Run ``work`` in a thread. Cancelling waits for it: its file must not be closed under it.

    Work that still waits for its turn is dropped then, unless it ``must_run``.
    """
    limiter, started = _media_limiter(), False

    async def in_turn() -> T:
        nonlocal started
        async with limiter:
            started = True
            return await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))

    running = asyncio.create_task(in_turn())
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if not started and not must_run:
            running.cancel()
        await _ended(running)
        raise


async def in_stoppable_media_thread(work: Callable[[Callable[[], None]], T]) -> T:
    """The same for ``work`` that calls its argument now and then: that raises DecodingCancelled after cancelling."""
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise DecodingCancelled

    running = asyncio.create_task(in_media_thread(partial(work, check)))
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        stopped.set()
        running.cancel()
        await _ended(running)
        raise
    return running.result()


async def _ended(running: asyncio.Task[T]) -> None:
    """Wait for ``running``, however often the waiting task is cancelled meanwhile."""
    while not running.done():
        # Cancelling a task of asyncio ends anyio's wait at once, and leaves the thread at work.
        with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    if not running.cancelled():
        running.exception()  # nobody is left to be told


def _media_limiter() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(anyio.CapacityLimiter(MEDIA_THREADS))
        return _limiter.get()
