"""Queue and throughput for charts, read at most every few seconds however many ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kikitori.store.keys import utc_now
from kikitori.store.nodes import NodeStore
from kikitori.store.stats import MOST_COUNTED, Minute, StatsStore
from kikitori.store.task_records import Node, TaskStatus

FRESH_SECONDS = 3.0
"""So long figures are given out again, or longer when it took long to find them:"""
LEAST_PAUSE = 20
"""at least so many times as long as that."""
MOST_OWNERS = 1_000
MINUTES, HOURS = 60, 24
SILENT = timedelta(seconds=30)
"""A node without a heartbeat for so long is taken for dead by the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What ended in a minute or an hour, from ``at`` on."""

    at: datetime
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    """Expired ones among them."""
    audio_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A node that is alive, and how many tasks it works on."""

    node: Node
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    counts: Mapping[TaskStatus, int]
    minutes: Sequence[Step]
    """The last hour, the oldest first; the last one is not over yet."""
    hours: Sequence[Step]
    """The last day, likewise."""
    workers: Sequence[Worker]

    @property
    def is_exact(self) -> bool:
        """False: there are more of some status than were counted."""
        return max(self.counts.values(), default=0) < MOST_COUNTED


class StatsDesk:
    """Figures by owner; one event loop only."""

    def __init__(
        self,
        store: StatsStore,
        nodes: NodeStore,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._nodes, self._now, self._clock = store, nodes, now, clock
        self._known: dict[str | None, tuple[float, Stats]] = {}
        """Until when, and what."""
        self._reading: dict[str | None, asyncio.Lock] = {}

    async def read(self, owner: str | None) -> Stats:
        """The figures of an owner's tasks; None: of everybody's."""
        async with self._reading.setdefault(owner, asyncio.Lock()):
            known = self._known.get(owner)
            began = self._clock()
            if known and began < known[0]:
                return known[1]
            stats = await self._read(owner)
            took = self._clock() - began
            if len(self._known) >= MOST_OWNERS:
                self._known.clear()
                self._reading.clear()
            self._known[owner] = (began + max(FRESH_SECONDS, LEAST_PAUSE * took), stats)
            return stats

    async def _read(self, owner: str | None) -> Stats:
        now = self._now()
        hour, minute = now.replace(minute=0, second=0, microsecond=0), now.replace(second=0, microsecond=0)
        hours = [hour - timedelta(hours=back) for back in reversed(range(HOURS))]
        minutes = [minute - timedelta(minutes=back) for back in reversed(range(MINUTES))]
        found = await self._store.minutes(owner, hours[0])
        return Stats(
            counts=await self._store.counts(owner),
            minutes=_steps(found, minutes, timedelta(minutes=1)),
            hours=_steps(found, hours, timedelta(hours=1)),
            workers=await self._workers(now),
        )

    async def _workers(self, now: datetime) -> list[Worker]:
        working = await self._store.working()
        alive = [node for node in await self._nodes.list() if node.stopped_at is None]
        return [Worker(node=node, tasks=working.get(node.id, 0)) for node in alive if now - node.heartbeat_at <= SILENT]


def _steps(found: Iterable[Minute], starts: Sequence[datetime], length: timedelta) -> list[Step]:
    """A step for each of ``starts``, which follow each other; those in which nothing ended, too."""
    numbers: list[dict[str, float]] = [{} for _ in starts]
    for minute in found:
        at = (minute.at - starts[0]) // length
        if not 0 <= at < len(starts):
            continue
        step = numbers[at]
        for status, count in minute.ended.items():
            name = "cancelled" if status is TaskStatus.EXPIRED else status.value
            step[name] = step.get(name, 0) + count
        step["audio_seconds"] = step.get("audio_seconds", 0.0) + minute.audio_seconds
    return [
        Step(
            at=at,
            succeeded=int(step.get("succeeded", 0)),
            failed=int(step.get("failed", 0)),
            cancelled=int(step.get("cancelled", 0)),
            audio_seconds=step.get("audio_seconds", 0.0),
        )
        for at, step in zip(starts, numbers, strict=True)
    ]
