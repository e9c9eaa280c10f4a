"""Work that is finished although whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work`` to its end, however often the waiting task is cancelled; then the cancelling goes on."""
    running = asyncio.create_task(work)
    cancelled = await ended(running)
    if cancelled is None:
        return running.result()
    if not running.cancelled():
        running.exception()  # nobody is left to be told
    raise cancelled


async def ended(task: asyncio.Task[Any]) -> asyncio.CancelledError | None:
    """Wait until ``task`` is over; what cancelled the waiting meanwhile, if anything did."""
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            cancelled = exc
    return cancelled
