"""Who waits for news of a task in this process, and is woken when there are some."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress


class Changes:
    """Wake-ups without content: whoever is woken reads the database. One event loop only."""

    def __init__(self) -> None:
        self._waiters: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._waiters)

    def tell(self, task_id: str) -> None:
        """Something about the task changed."""
        for waiter in self._waiters.pop(task_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, task_id: str, seconds: float) -> None:
        """Until somebody tells, at most ``seconds``: other nodes change tasks without telling here."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[task_id].add(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            waiters = self._waiters.get(task_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[task_id]
