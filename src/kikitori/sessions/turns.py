"""Whose decoding is next: finals first, the oldest wish first, and few interims at a time.

The audio of a job is taken when its turn comes, so that an interim that had to wait shows the newest. Who sends audio
faster than it is spoken always wants something decoded: while others speak, it rests after each of its jobs.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from kikitori.inference.loaded import LoadedModel
from kikitori.live.jobs import JobKind

RANK = {JobKind.FINAL: 0, JobKind.SPECULATIVE: 1, JobKind.INTERIM: 2}
UNKNOWN_LIMIT = 1
"""Interims at a time on a model that has not decoded anything yet."""
REST_FACTOR = 4.0
"""Who hurries rests so many times as long as its job took,"""
COMPANY_SECONDS = 10.0
"""while somebody who does not hurry was decoded this lately."""


class Speaker(Protocol):
    """A session in want of decoding."""

    @property
    def model(self) -> str: ...

    @property
    def decoding(self) -> bool:
        """A job of it runs; it has one at a time."""
        ...

    @property
    def hurries(self) -> bool:
        """Its audio comes faster than time passes."""
        ...

    def wish(self, now: float) -> tuple[JobKind, float] | None:
        """What it wants decoded, and since when; None: nothing."""
        ...

    def begin(self, now: float, wanted_at: float) -> Coroutine[Any, Any, LoadedModel | None] | None:
        """Take up what it wants now; the rest of the work, which never raises. None: there is nothing after all."""
        ...


class Turns:
    """Gives sessions their turns. Used as a task: ``run``; belongs to one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wanting: dict[Speaker, None] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._interims: Counter[str] = Counter()
        self._limits: dict[str, int] = {}
        self._rests: dict[Speaker, float] = {}
        """Until when those who hurry leave the others their turns."""
        self._company_until = float("-inf")
        self._wake = asyncio.Event()

    def want(self, speaker: Speaker) -> None:
        """Something may be due for ``speaker``."""
        self._wanting[speaker] = None
        self._wake.set()

    def forget(self, speaker: Speaker) -> None:
        self._wanting.pop(speaker, None)
        self._rests.pop(speaker, None)

    def longest_waits(self, steps: Callable[[Speaker, float], float]) -> tuple[float, float]:
        """How long the oldest interim waits, by ``steps`` of its session, and the oldest final (seconds).

        Those who hurry are not counted: they wait because they sent so much.
        """
        now = self._clock()
        interim = final = 0.0
        for speaker in self._wanting:
            if speaker.hurries:
                continue
            if wish := speaker.wish(now):
                kind, since = wish
                if kind is JobKind.INTERIM:
                    interim = max(interim, steps(speaker, now - since))
                elif kind is JobKind.FINAL:
                    final = max(final, now - since)
        return interim, final

    async def run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._give()
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    def _give(self) -> None:
        now = self._clock()
        due: list[tuple[int, float, JobKind, Speaker]] = []
        for speaker in [each for each in self._wanting if not each.decoding]:
            if wish := speaker.wish(now):
                due.append((RANK[wish[0]], wish[1], wish[0], speaker))
            else:
                del self._wanting[speaker]
        for _, since, kind, speaker in sorted(due, key=lambda each: each[:2]):
            if self._is_resting(speaker, now):
                continue
            if kind is not JobKind.INTERIM:
                self._start(speaker, kind, now, since)
            elif self._interims[speaker.model] < self._limits.get(speaker.model, UNKNOWN_LIMIT):
                self._start(speaker, kind, now, since)

    def _start(self, speaker: Speaker, kind: JobKind, now: float, since: float) -> None:
        if (work := speaker.begin(now, since)) is None:
            return
        if kind is JobKind.INTERIM:
            self._interims[speaker.model] += 1
        if not speaker.hurries:
            self._company_until = now + COMPANY_SECONDS
        task = asyncio.create_task(self._finish(work, speaker, kind, now), name="kikitori-live-decoding")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _finish(
        self, work: Coroutine[Any, Any, LoadedModel | None], speaker: Speaker, kind: JobKind, began: float
    ) -> None:
        name = speaker.model
        try:
            if model := await work:
                self._limits[name] = model.interims_at_once
        finally:
            if kind is JobKind.INTERIM:
                self._interims[name] -= 1
            now = self._clock()
            if speaker.hurries:
                self._rests[speaker] = now + REST_FACTOR * (now - began)
            self._wake.set()

    def _is_resting(self, speaker: Speaker, now: float) -> bool:
        until = min(self._rests.get(speaker, now), self._company_until)
        if until <= now or not speaker.hurries:
            self._rests.pop(speaker, None)
            return False
        asyncio.get_running_loop().call_later(until - now, self._wake.set)
        return True
