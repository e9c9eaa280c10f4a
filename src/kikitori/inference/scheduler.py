"""Who is decoded next, and with whom. Pure: owns no thread, no clock, no engine.

Every call that waits has a due time: when it arrived plus the patience of its priority. The most
urgent call decides which key runs next, and calls of the same key fill its batch, most urgent
first. Because due times do not move, an old call of low priority is at some point more urgent
than any new one: nothing starves.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kikitori.types import Priority

PATIENCE: dict[Priority, float] = {
    Priority.LIVE_FINAL: 0.0,
    Priority.LIVE_SPECULATIVE: 1.0,
    Priority.HIGH: 3.0,
    Priority.LIVE_INTERIM: 6.0,
    Priority.NORMAL: 20.0,
    Priority.LOW: 120.0,
}
"""Seconds a call lets more urgent ones that come later go first."""


@dataclass(slots=True, eq=False)
class Item:
    """One call that waits for its batch."""

    key: Hashable
    """Calls with equal keys may run together."""
    payload: Any
    priority: Priority
    arrived: float
    waiting: bool = field(default=False, init=False)
    """In the queue: neither in a batch nor abandoned."""

    @property
    def due(self) -> float:
        return self.arrived + PATIENCE[self.priority]


T = TypeVar("T", bound=Item)


class Scheduler(Generic[T]):
    """Groups waiting calls into batches.

    Live calls and file calls never share a batch: a live caller would wait for the longest
    window of the file.
    """

    def __init__(self, batch_limit: Callable[[Hashable], int], *, takers: int = 1) -> None:
        """``takers``: how many share the work, each asking for the next batch when it is free.

        One taker leaves the others their part: two batches of 4 side by side are sooner done than one of 8.
        """
        self._batch_limit, self._takers = batch_limit, takers
        self._groups: dict[tuple[Hashable, bool], list[tuple[float, int, T]]] = {}
        self._arrivals = itertools.count()
        self._waiting: Counter[Priority] = Counter()

    def __len__(self) -> int:
        return self._waiting.total()

    def waiting(self) -> dict[Priority, int]:
        """How many calls of each priority wait."""
        return {priority: self._waiting[priority] for priority in Priority}

    def add(self, item: T) -> None:
        group = self._groups.setdefault((item.key, item.priority.is_live), [])
        heapq.heappush(group, (item.due, next(self._arrivals), item))
        self._leave_or_enter(item, waiting=True)

    def abandon(self, item: T) -> None:
        """The caller of ``item`` is gone: if it still waits, it will be in no batch."""
        if item.waiting:
            self._leave_or_enter(item, waiting=False)

    def next_batch(self) -> list[T]:
        """The most urgent call and those that may run with it; empty when nobody waits."""
        for key in [key for key, group in self._groups.items() if not self._drop_abandoned(group)]:
            del self._groups[key]
        if not self._groups:
            return []
        key = min(self._groups, key=lambda key: self._groups[key][0][:2])
        group = self._groups[key]
        waiting = sum(item.waiting for _, _, item in group)
        limit = max(1, min(self._batch_limit(key[0]), math.ceil(waiting / self._takers)))
        batch: list[T] = []
        while len(batch) < limit and self._drop_abandoned(group):
            batch.append(heapq.heappop(group)[2])
            self._leave_or_enter(batch[-1], waiting=False)
        if not group:
            del self._groups[key]
        return batch

    def _leave_or_enter(self, item: T, *, waiting: bool) -> None:
        item.waiting = waiting
        self._waiting[item.priority] += 1 if waiting else -1

    @staticmethod
    def _drop_abandoned(group: list[tuple[float, int, T]]) -> bool:
        """Drop abandoned calls from the head; whether a call is left."""
        while group and not group[0][2].waiting:
            heapq.heappop(group)
        return bool(group)
