"""What is kept after tasks have ended, and for how long; and what crashes left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from kikitori.errors import KikitoriError
from kikitori.media.store import MediaStore
from kikitori.store.cleaning import Cleaning
from kikitori.store.keys import utc_now
from kikitori.store.nodes import NodeStore

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 600.0
AT_ONCE = 200
TIDY_EVERY = timedelta(days=1)
STRAY_SECONDS = 24 * 3_600.0
"""Recordings are in the store for a moment before their tasks are: what is so old and has none never gets one."""
NODES_KEPT = timedelta(days=7)
"""Nodes that stopped are shown for so long."""


class Retention:
    """Removes recordings, and later whole tasks, by their age (zero days keeps them for ever); tidies up every day."""

    def __init__(
        self,
        cleaning: Cleaning,
        media: MediaStore,
        nodes: NodeStore,
        *,
        media_days: float,
        task_days: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cleaning, self._media, self._nodes, self._now = cleaning, media, nodes, now
        self._media_days, self._task_days = media_days, task_days
        self._tidied_at: datetime | None = None

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await _tried(self.sweep)
            if self._tidied_at is None or self._now() - self._tidied_at >= TIDY_EVERY:
                self._tidied_at = self._now()
                await _tried(self.tidy)
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def sweep(self) -> None:
        """Remove what is too old now."""
        if self._task_days:
            await self._remove_tasks(self._now() - timedelta(days=self._task_days))
        if self._media_days:
            await self._remove_media(self._now() - timedelta(days=self._media_days))

    async def tidy(self) -> None:
        """Remove what crashes left: recordings that belong to no task, and nodes that stopped long ago."""
        await self._nodes.forget(self._now() - NODES_KEPT)
        tasks = await self._media.own_keys(older_than_seconds=STRAY_SECONDS)
        known = await self._cleaning.media_keys(tasks.values())
        strays = [key for key in tasks if key not in known]
        for key in strays:
            await self._media.delete(key)
        if strays:
            logger.info("stray recordings removed", extra={"action": "strays_removed", "count": len(strays)})

    # First the rows, then the media: what a crash leaves in between belongs to no task, and goes another day.

    async def _remove_tasks(self, before: datetime) -> None:
        while ids := await self._cleaning.ended_before(before, AT_ONCE):
            for id in ids:
                if key := await self._cleaning.remove(id, ended_before=before):
                    await self._media.delete(key)
            logger.info("tasks removed", extra={"action": "tasks_removed", "count": len(ids)})

    async def _remove_media(self, before: datetime) -> None:
        while ids := await self._cleaning.ended_before(before, AT_ONCE, with_media=True):
            for id in ids:
                if key := await self._cleaning.forget_media(id, ended_before=before):
                    await self._media.delete(key)
            logger.info("recordings removed", extra={"action": "recordings_removed", "count": len(ids)})


async def _tried(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception as exc:  # whatever it is, the next look may find it gone
        trace = None if isinstance(exc, KikitoriError) else exc
        logger.warning("retention failed", exc_info=trace, extra={"action": "retention_failed", "reason": str(exc)})
