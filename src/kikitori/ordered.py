"""Several things at once, results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def in_order(jobs: Iterable[Callable[[], Awaitable[T]]], *, at_once: int) -> AsyncGenerator[T, None]:
    """Run ``jobs``, at most ``at_once`` together; yield their results in the order of the jobs.

    The first failure cancels the rest. Closing the generator cancels what runs and waits for it.
    """
    waiting = iter(jobs)
    running: deque[asyncio.Task[T]] = deque()

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        return await job()

    def fill() -> None:
        while len(running) < at_once and (job := next(waiting, None)) is not None:
            running.append(asyncio.create_task(run(job)))

    try:
        fill()
        while running:
            result = await running[0]
            running.popleft()
            fill()
            yield result
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
