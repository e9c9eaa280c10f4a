"""What was found right a moment ago need not be looked at again."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable

SECONDS = 2.0
MOST = 1_000


class Recent:
    """Remembers things for ``seconds``; at most ``MOST`` of them, by their hashes: they themselves may be large."""

    def __init__(self, seconds: float = SECONDS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._until: dict[int, float] = {}

    def knows(self, thing: Hashable) -> bool:
        return self._until.get(hash(thing), 0.0) > self._clock()

    def note(self, things: Iterable[Hashable]) -> None:
        if len(self._until) >= MOST:
            self._until.clear()
        self._until |= dict.fromkeys(map(hash, things), self._clock() + self._seconds)
