"""How many requests of one caller may run at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from kikitori.errors import Busy

RETRY_AFTER_SECONDS = 1.0


class CallLimit:
    def __init__(self, limit: int, *, what: str = "request") -> None:
        """At most ``limit`` requests of each caller, or whatever else is counted; 0: no limit."""
        self._limit, self._what = limit, what
        self._running: Counter[str] = Counter()

    @contextmanager
    def place(self, caller: str) -> Generator[None, None, None]:
        """Room for one request of ``caller``; raises Busy when there is none."""
        if self._limit and self._running[caller] >= self._limit:
            running = f"1 {self._what} of yours is" if self._limit == 1 else f"{self._limit} {self._what}s of yours are"
            raise Busy(f"{running} running already.", retry_after=RETRY_AFTER_SECONDS)
        self._running[caller] += 1
        try:
            yield
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]  # callers come and go; their counts must not stay
