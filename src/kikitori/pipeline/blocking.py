"""Blocking work of the pipeline, kept off the event loop and bounded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

MEDIA_THREADS = max(2, os.cpu_count() or 2)
"""Files decoded, cut or scored for speech at the same moment: more would only take turns, and the loop's with them."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("kikitori-media-threads")


async def in_media_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread. Cancelling waits for it: its file must not be closed under it."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MEDIA_THREADS)
        _limiter.set(limiter)
    running = asyncio.create_task(anyio.to_thread.run_sync(work, limiter=limiter))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # Cancelling a task of asyncio ends anyio's wait at once, and leaves the thread at work.
        with anyio.CancelScope(shield=True):
            await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # nobody is left to be told
        raise
