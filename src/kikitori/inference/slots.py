"""Places for decodings that run at once, given to the most urgent first."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class Slots:
    """A semaphore whose waiters are served by due time, then by arrival. One event loop only."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    @property
    def waiting(self) -> int:
        return sum(not future.done() for _, _, future in self._waiters)

    async def acquire(self, due: float) -> None:
        """Wait for a place; the lowest ``due`` (seconds, any clock) goes first."""
        if self._free > 0:
            self._free -= 1
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (due, next(self._arrivals), future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # the place came together with the cancellation
                self.release()
            raise

    def release(self) -> None:
        while self._waiters:
            _, _, future = heapq.heappop(self._waiters)
            if not future.done():
                future.set_result(None)
                return
        self._free += 1
