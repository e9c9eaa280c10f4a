"""What is kept after tasks have ended, and for how long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from kikitori.errors import KikitoriError, NotFound
from kikitori.media.store import MediaStore
from kikitori.store.tasks import TaskStore
from kikitori.tasks.cluster import utc_now

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 600.0
AT_ONCE = 200


class Retention:
    """Removes recordings, and later whole tasks, by their age. Zero days keeps them for ever."""

    def __init__(
        self,
        store: TaskStore,
        media: MediaStore,
        *,
        media_days: float,
        task_days: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._media, self._now = store, media, now
        self._media_days, self._task_days = media_days, task_days

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception as exc:  # whatever it is, the next look may find it gone
                trace = None if isinstance(exc, KikitoriError) else exc
                logger.warning(
                    "retention failed", exc_info=trace, extra={"action": "retention_failed", "reason": str(exc)}
                )
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def sweep(self) -> None:
        """Remove what is too old now."""
        if self._task_days:
            await self._remove_tasks(self._now() - timedelta(days=self._task_days))
        if self._media_days:
            await self._remove_media(self._now() - timedelta(days=self._media_days))

    async def _remove_tasks(self, before: datetime) -> None:
        while tasks := await self._store.finished_before(before, AT_ONCE):
            for task in tasks:
                if task.media_key:
                    await self._media.delete(task.media_key)
                with suppress(NotFound):  # another node was faster
                    await self._store.delete(task.id, None)
            logger.info("tasks removed", extra={"action": "tasks_removed", "count": len(tasks)})

    async def _remove_media(self, before: datetime) -> None:
        while tasks := await self._store.finished_before(before, AT_ONCE, with_media=True):
            for task in tasks:
                if task.media_key:
                    await self._media.delete(task.media_key)
                await self._store.forget_media(task.id)
            logger.info("recordings removed", extra={"action": "recordings_removed", "count": len(tasks)})
