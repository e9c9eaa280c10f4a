"""How the server's process keeps its memory."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt(3)."""
ARENAS = 2
LARGE_BYTES = 1024 * 1024
TRIM_EVERY_SECONDS = 3.0
BUSY_SHARE = 0.05
"""Share of a core below which nothing was done that is worth trimming."""


def return_free_memory() -> None:
    """Give large blocks back as soon as they are free, and keep few heaps, where the C library is glibc.

    By default every thread that decodes grows a heap of its own and keeps what it once needed:
    hundreds of megabytes after one long recording.
    """
    if mallopt := _glibc("mallopt"):
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)


def keep_what_is_there() -> None:
    """For the end of the start: what is there now stays, and need not be looked at for garbage again and again.

    A look at all of it stops the process for a fifth of a second.
    """
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def trimmed_memory(seconds: float = TRIM_EVERY_SECONDS) -> AsyncIterator[None]:
    """While the process works, give back what is free between blocks in use, which glibc keeps by itself.

    Hours of audio would otherwise leave it a hundred megabytes larger each.
    """
    trim = _glibc("malloc_trim")
    task = asyncio.create_task(_trim_now_and_then(trim, seconds), name="kikitori-trim") if trim else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _trim_now_and_then(trim: Callable[[int], Any], seconds: float) -> None:
    worked = time.process_time()
    while True:
        await asyncio.sleep(seconds)
        if time.process_time() - worked > BUSY_SHARE * seconds:
            await asyncio.to_thread(trim, 0)
            worked = time.process_time()


def _glibc(name: str) -> Callable[..., Any] | None:
    """A function of the C library; None where it is not glibc (musl, macOS)."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
